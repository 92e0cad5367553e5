# What became of every recording.


rule collect_status:
    input:
        preprocessed=all_blocks("preprocessed"),
        features=all_blocks("features"),
    output:
        report(
            "results/status.tsv",
            caption="captions/status.rst",
            category="Recordings",
            labels={"table": "all recordings, all stages"},
        ),
    log:
        "logs/collect_status.log",
    conda:
        "../envs/base.yaml"
    container:
        CONTAINERS["base"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=30,
    params:
        script=script("collect_status"),
        code=lambda wildcards: code("status", family="base"),
    shell:
        "python {params.script:q} --preprocessed {input.preprocessed:q} --features {input.features:q}"
        " --out {output:q} --code {params.code} > {log:q} 2>&1"

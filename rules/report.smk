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


rule collect_quality:
    input:
        lambda wildcards: CARDS.tables(wildcards.dataset, wildcards.preprocessing),
    output:
        report(
            "results/quality/{dataset}/{preprocessing}.tsv",
            caption="captions/quality.rst",
            category="Recordings",
            labels={"table": "quality of {dataset} by {preprocessing}"},
        ),
    log:
        "logs/collect_quality/{dataset}/{preprocessing}.log",
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=30,
    params:
        script=script("collect_quality"),
        code=lambda wildcards: code("quality"),
    shell:
        "python {params.script:q} --manifests {input:q} --out {output:q} --code {params.code} > {log:q} 2>&1"

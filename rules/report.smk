# What became of every recording.


rule collect_status:
    input:
        preprocessed=all_blocks("preprocessed"),
        features=all_blocks("features"),
    output:
        reported(
            "results/status.tsv",
            caption="captions/status.rst",
            category="Recordings",
            labels={"table": "all recordings, all stages"},
        ),
    log:
        "logs/collect_status.log",
    benchmark:
        "results/benchmarks/collect_status.tsv"
    conda:
        "../envs/base.yaml"
    container:
        CONTAINERS["base"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(5),
    params:
        script=script("collect_status"),
        preprocessed=shortly("preprocessed"),
        features=shortly("features"),
        code=lambda wildcards: code("status", family="base"),
    shell:
        "python {params.script:q} --preprocessed {params.preprocessed:q} --features {params.features:q}"
        " --out {output:q} --code {params.code} > {log:q} 2>&1"


rule collect_quality:
    input:
        lambda wildcards: CARDS.tables(wildcards.dataset, wildcards.preprocessing),
    output:
        reported(
            "results/quality/{dataset}/{preprocessing}.tsv",
            caption="captions/quality.rst",
            category="Recordings",
            labels={"table": "quality of {dataset} by {preprocessing}"},
        ),
    log:
        "logs/collect_quality/{dataset}/{preprocessing}.log",
    benchmark:
        "results/benchmarks/collect_quality/{dataset}/{preprocessing}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(5),
    params:
        script=script("collect_quality"),
        manifests=shortly(),
        code=lambda wildcards: code("quality"),
    shell:
        "python {params.script:q} --manifests {params.manifests:q} --out {output:q} --code {params.code} > {log:q} 2>&1"

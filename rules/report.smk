# What became of every recording, and the pages that people look at.


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


# A run with its cards, as they were resolved: what its results mean stays readable without this project.
rule describe_run:
    output:
        "results/runs/{run}/card.json",
    log:
        "logs/describe_run/{run}.log",
    benchmark:
        "results/benchmarks/describe_run/{run}.tsv"
    conda:
        "../envs/base.yaml"
    container:
        CONTAINERS["base"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(5),
    params:
        script=script("describe_run"),
        # Not `as_json`: the order of methods, schemes and metrics is that of the study.
        card=lambda wildcards: json.dumps(described(CARDS, RUNS[wildcards.run])),
        code=lambda wildcards: code("run_card", family="base"),
    shell:
        "python {params.script:q} --card {params.card:q} --out {output:q} --code {params.code} > {log:q} 2>&1"


rule build_site:
    input:
        all_pages,
        claims="results/claims.tsv",
        status="results/status.tsv",
    output:
        directory("results/site"),
    log:
        "logs/build_site.log",
    benchmark:
        "results/benchmarks/build_site.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(15),
    params:
        script=script("build_site"),
        runs=list(RUNS),
        source=os.path.relpath(BASE),
        look=lambda wildcards: look(),
        code=lambda wildcards: code("site"),
    shell:
        "python {params.script:q} --results results --runs {params.runs:q} --source {params.source:q} --out {output:q}"
        " --code {params.code}{params.look} > {log:q} 2>&1"

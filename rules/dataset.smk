# A dataset is linked, fetched, simulated or made BIDS; then indexed and validated.


include: "fetch.smk"


rule simulate_dataset:
    output:
        description="results/datasets/{dataset}/bids/dataset_description.json",
        truth="results/datasets/{dataset}/truth.json",
    log:
        "logs/simulate_dataset/{dataset}.log",
    benchmark:
        "results/benchmarks/simulate_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=PATTERNS.datasets_by("simulate"),
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(20),
    params:
        script=script("simulate_dataset"),
        simulator=lambda wildcards: simulate_card(wildcards)["simulator"],
        settings=lambda wildcards: as_json(simulate_card(wildcards)["params"]),
        truth=lambda wildcards: simulate_card(wildcards)["truth"],
        seed=CARDS.config["seed"],
        root=root_of,
        code=lambda wildcards: code(
            "simulate",
            f"simulators.{simulate_card(wildcards)['simulator']}",
            family=simulate_card(wildcards).get("family", "signal"),
        ),
    shell:
        "python {params.script:q} --simulator {params.simulator:q} --params {params.settings:q}"
        " --truth {params.truth:q} --seed {params.seed} --bids {params.root:q} --truth-path {output.truth:q}"
        " --code {params.code} > {log:q} 2>&1"


use rule simulate_dataset as simulate_dataset_mri with:
    wildcard_constraints:
        dataset=PATTERNS.datasets_by("simulate", "mri"),
    conda:
        "../envs/mri.yaml"
    container:
        CONTAINERS["mri"]


rule bidsify_dataset:
    output:
        "results/datasets/{dataset}/bids/dataset_description.json",
    log:
        "logs/bidsify_dataset/{dataset}.log",
    benchmark:
        "results/benchmarks/bidsify_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=PATTERNS.datasets_by("bidsify"),
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(240),
    params:
        script=script("bidsify"),
        source=lambda wildcards: source_of(wildcards, "bidsify"),
        arguments=lambda wildcards: bidsify_arguments(dataset_card(wildcards)),
        root=root_of,
        content=lambda wildcards: content_of(wildcards, "bidsify"),
        code=lambda wildcards: code("bidsify"),
    shell:
        "python {params.script:q} {params.source:q} {params.root:q} {params.arguments:q} --overwrite"
        " --code {params.content}-{params.code} > {log:q} 2>&1"


rule gather_dataset:
    output:
        "results/datasets/{dataset}/bids/dataset_description.json",
    log:
        "logs/gather_dataset/{dataset}.log",
    benchmark:
        "results/benchmarks/gather_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=PATTERNS.datasets_by("gather"),
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        script=script("gather_dataset"),
        source=lambda wildcards: source_of(wildcards, "gather"),
        plan=lambda wildcards: as_json(gather_plan(dataset_card(wildcards))),
        root=root_of,
        content=lambda wildcards: content_of(wildcards, "gather"),
        code=lambda wildcards: code("gather", *CARDS.readers(wildcards.dataset)),
    shell:
        "python {params.script:q} {params.source:q} {params.root:q} --plan {params.plan:q}"
        " --code {params.content}-{params.code} > {log:q} 2>&1"


rule index_dataset:
    input:
        made_dataset,
    output:
        recordings="results/datasets/{dataset}/recordings.tsv",
        content="results/datasets/{dataset}/content.json",
        index="results/datasets/{dataset}/index.tsv",
        participants="results/datasets/{dataset}/participants.tsv",
    log:
        "logs/index_dataset/{dataset}.log",
    benchmark:
        "results/benchmarks/index_dataset/{dataset}.tsv"
    wildcard_constraints:
        dataset=PATTERNS.made(),
    conda:
        "../envs/base.yaml"
    container:
        CONTAINERS["base"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(10),
    params:
        script=script("index_dataset"),
        root=root_of,
        out=lambda wildcards: f"results/datasets/{wildcards.dataset}",
        code=lambda wildcards: code("index", family="base"),
    shell:
        "python {params.script:q} --root {params.root:q} --out {params.out:q} --fingerprint content"
        " --code {params.code} > {log:q} 2>&1"


rule validate_dataset:
    input:
        "results/datasets/{dataset}/content.json",
    output:
        summary="results/datasets/{dataset}/validation.json",
        table="results/datasets/{dataset}/validation.tsv",
    log:
        "logs/validate_dataset/{dataset}.log",
    benchmark:
        "results/benchmarks/validate_dataset/{dataset}.tsv"
    priority: 100
    conda:
        "../envs/base.yaml"
    container:
        CONTAINERS["base"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(20),
    params:
        script=script("validate_dataset"),
        root=root_of,
        skip=lambda wildcards: "--skip" if validation(wildcards) == "skip" else "",
        code=lambda wildcards: code("validate", family="base"),
    shell:
        "python {params.script:q} --root {params.root:q} --report-json {output.summary:q}"
        " --report-tsv {output.table:q} {params.skip} --code {params.code} > {log:q} 2>&1"

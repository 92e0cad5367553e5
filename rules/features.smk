# One recording, one bundle; a block of subjects a job. Nothing is fitted here.


rule extract_features:
    input:
        manifest="results/preprocessed/{dataset}/{preprocessing}/{block}.tsv",
        files=lambda wildcards: files_of("features")(wildcards).values(),
        presentations=presented,
    output:
        bundle="results/features/{dataset}/{preprocessing}/{feature}/{block}.npz",
        status="results/features/{dataset}/{preprocessing}/{feature}/{block}.tsv",
    log:
        "logs/extract_features/{dataset}/{preprocessing}/{feature}/{block}.log",
    benchmark:
        "results/benchmarks/extract_features/{dataset}/{preprocessing}/{feature}/{block}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_in("signal"),
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=lasts(10),
    params:
        script=script("extract_features"),
        derivatives="results/derivatives/{dataset}/{preprocessing}",
        extractor=lambda wildcards: feature_card(wildcards)["extractor"],
        settings=lambda wildcards: as_json(feature_card(wildcards)["params"]),
        classes=lambda wildcards: as_json(dataset_card(wildcards).get("classes", {})),
        files=lambda wildcards: as_json(files_of("features")(wildcards)),
        presentations=lambda wildcards, input: ["--presentations", *input.presentations] if input.presentations else [],
        code=lambda wildcards: code(
            "features",
            f"features.{feature_card(wildcards)['extractor']}",
            family=CARDS.family(wildcards.preprocessing),
        ),
    shell:
        "python {params.script:q} --manifest {input.manifest:q} --derivatives {params.derivatives:q}"
        " --bundle {output.bundle:q} --status {output.status:q} --feature {params.extractor:q}"
        " --params {params.settings:q} --classes {params.classes:q} --files {params.files:q}"
        " --block {wildcards.block} {params.presentations:q} --code {params.code} > {log:q} 2>&1"


# What depends on the features of a dataset depends on this one table of them, not on each of a thousand blocks.
rule collect_features:
    input:
        # A bundle counts through its status table, which holds its digest: touching the bundle changes nothing.
        tables=feature_blocks("tsv"),
        bundles=ancient(feature_blocks("npz")),
    output:
        "results/features/{dataset}/{preprocessing}/{feature}/bundles.tsv",
    log:
        "logs/collect_features/{dataset}/{preprocessing}/{feature}.log",
    benchmark:
        "results/benchmarks/collect_features/{dataset}/{preprocessing}/{feature}.tsv"
    conda:
        "../envs/base.yaml"
    container:
        CONTAINERS["base"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(5),
    params:
        script=script("collect_features"),
        tables=shortly("tables"),
        # Of the standard library alone: every fit depends on this table, and none on the packages of this environment.
        code=lambda wildcards: code("blockwise", family=None),
    shell:
        "python {params.script:q} --tables {params.tables:q} --out {output:q} --code {params.code} > {log:q} 2>&1"


use rule extract_features as extract_features_mri with:
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_in("mri"),
    conda:
        "../envs/mri.yaml"
    container:
        CONTAINERS["mri"]

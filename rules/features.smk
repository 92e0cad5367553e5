# One recording, one bundle; a block of subjects a job. Nothing is fitted here.


rule extract_features:
    input:
        manifest="results/preprocessed/{dataset}/{preprocessing}/{block}.tsv",
    output:
        bundle="results/features/{dataset}/{preprocessing}/{feature}/{block}.npz",
        status="results/features/{dataset}/{preprocessing}/{feature}/{block}.tsv",
    log:
        "logs/extract_features/{dataset}/{preprocessing}/{feature}/{block}.log",
    benchmark:
        "results/benchmarks/extract_features/{dataset}/{preprocessing}/{feature}/{block}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=120,
    params:
        script=script("extract_features"),
        derivatives="results/derivatives/{dataset}/{preprocessing}",
        extractor=lambda wildcards: feature_card(wildcards)["extractor"],
        settings=lambda wildcards: as_json(feature_card(wildcards)["params"]),
        classes=lambda wildcards: as_json(dataset_card(wildcards).get("classes", {})),
        code=lambda wildcards: code("features", f"features.{feature_card(wildcards)['extractor']}"),
    shell:
        "python {params.script:q} --manifest {input.manifest:q} --derivatives {params.derivatives:q}"
        " --bundle {output.bundle:q} --status {output.status:q} --feature {params.extractor:q}"
        " --params {params.settings:q} --classes {params.classes:q} --block {wildcards.block} --code {params.code} > {log:q} 2>&1"

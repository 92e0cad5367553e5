# Raw BIDS to BIDS derivatives, a block of subjects a job. One rule a modality.


rule preprocess_eeg:
    input:
        recordings=block_recordings,
    output:
        manifest="results/preprocessed/{dataset}/{preprocessing}/{block}.tsv",
    log:
        "logs/preprocess_eeg/{dataset}/{preprocessing}/{block}.log",
    benchmark:
        "results/benchmarks/preprocess_eeg/{dataset}/{preprocessing}/{block}.tsv"
    wildcard_constraints:
        preprocessing=recipes_for("eeg"),
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=240,
    params:
        script=script("preprocess"),
        root=root_of,
        derivatives="results/derivatives/{dataset}/{preprocessing}",
        engine=lambda wildcards: preprocessing_card(wildcards)["engine"],
        settings=lambda wildcards: as_json(preprocessing_card(wildcards)["params"]),
        filters=lambda wildcards: as_json(dataset_card(wildcards).get("filters", {})),
        code=lambda wildcards: code("preprocess", f"preprocessing.{preprocessing_card(wildcards)['engine']}"),
    shell:
        "python {params.script:q} --recordings {input.recordings:q} --root {params.root:q}"
        " --block {wildcards.block} --derivatives {params.derivatives:q} --manifest {output.manifest:q}"
        " --engine {params.engine:q} --params {params.settings:q} --filters {params.filters:q}"
        " --code {params.code} > {log:q} 2>&1"

# Raw BIDS to BIDS derivatives, a block of subjects a job. One rule a modality.


rule preprocess_eeg:
    input:
        recordings=block_recordings,
        earlier=lambda wildcards: CARDS.earlier(wildcards.dataset, wildcards.preprocessing, wildcards.block),
        files=lambda wildcards: files_of("preprocessing")(wildcards).values(),
    output:
        manifest="results/preprocessed/{dataset}/{preprocessing}/{block}.tsv",
    log:
        "logs/preprocess_eeg/{dataset}/{preprocessing}/{block}.log",
    benchmark:
        "results/benchmarks/preprocess_eeg/{dataset}/{preprocessing}/{block}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_for("eeg"),
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=lasts(10, block=True),
    params:
        script=script("preprocess"),
        root=root_of,
        derivatives="results/derivatives/{dataset}/{preprocessing}",
        engine=lambda wildcards: preprocessing_card(wildcards)["engine"],
        settings=lambda wildcards: as_json(preprocessing_card(wildcards)["params"]),
        filters=lambda wildcards: as_json(dataset_card(wildcards).get("filters", {})),
        files=lambda wildcards: as_json(files_of("preprocessing")(wildcards)),
        earlier=lambda wildcards: CARDS.earlier_option(wildcards.dataset, wildcards.preprocessing),
        manifests=shortly("earlier"),
        code=lambda wildcards: code(
            "preprocess",
            f"preprocessing.{preprocessing_card(wildcards)['engine']}",
            family=CARDS.family(wildcards.preprocessing),
        ),
    shell:
        "python {params.script:q} --recordings {input.recordings:q} --root {params.root:q}"
        " --block {wildcards.block} --derivatives {params.derivatives:q} --manifest {output.manifest:q}"
        " --engine {params.engine:q} --params {params.settings:q} --filters {params.filters:q}"
        " --files {params.files:q} {params.earlier:q} --earlier-manifests {params.manifests:q}"
        " --code {params.code} > {log:q} 2>&1"


use rule preprocess_eeg as preprocess_meg with:
    log:
        "logs/preprocess_meg/{dataset}/{preprocessing}/{block}.log",
    benchmark:
        "results/benchmarks/preprocess_meg/{dataset}/{preprocessing}/{block}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_for("meg"),


use rule preprocess_eeg as preprocess_ephys with:
    log:
        "logs/preprocess_ephys/{dataset}/{preprocessing}/{block}.log",
    benchmark:
        "results/benchmarks/preprocess_ephys/{dataset}/{preprocessing}/{block}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_for("ephys"),


# Tables, which take no time.
use rule preprocess_eeg as preprocess_tables with:
    log:
        "logs/preprocess_tables/{dataset}/{preprocessing}/{block}.log",
    benchmark:
        "results/benchmarks/preprocess_tables/{dataset}/{preprocessing}/{block}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_for("beh", "micr"),


use rule preprocess_eeg as preprocess_anat with:
    log:
        "logs/preprocess_anat/{dataset}/{preprocessing}/{block}.log",
    benchmark:
        "results/benchmarks/preprocess_anat/{dataset}/{preprocessing}/{block}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_for("anat"),
    conda:
        "../envs/mri.yaml"
    container:
        CONTAINERS["mri"]
    threads: 1
    resources:
        mem_mb=grows(6000),
        runtime=lasts(30, block=True),


use rule preprocess_anat as preprocess_func with:
    log:
        "logs/preprocess_func/{dataset}/{preprocessing}/{block}.log",
    benchmark:
        "results/benchmarks/preprocess_func/{dataset}/{preprocessing}/{block}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_for("func"),
    conda:
        "../envs/mri.yaml"
    container:
        CONTAINERS["mri"]


use rule preprocess_anat as preprocess_pet with:
    log:
        "logs/preprocess_pet/{dataset}/{preprocessing}/{block}.log",
    benchmark:
        "results/benchmarks/preprocess_pet/{dataset}/{preprocessing}/{block}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_for("pet"),
    conda:
        "../envs/mri.yaml"
    container:
        CONTAINERS["mri"]


# Engines that start a container themselves, such as fMRIPrep's: on the host, since one in another is not possible.
use rule preprocess_anat as preprocess_on_host with:
    log:
        "logs/preprocess_on_host/{dataset}/{preprocessing}/{block}.log",
    benchmark:
        "results/benchmarks/preprocess_on_host/{dataset}/{preprocessing}/{block}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_for(*CARDS.modalities, on_host=True),
    conda:
        "../envs/mri.yaml"
    container:
        None
    threads: 8
    resources:
        mem_mb=grows(16000),
        runtime=2880,

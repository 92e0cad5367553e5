# What preprocessing gave, at a glance: pictures of a whole dataset, without anybody's name. One rule an environment.


rule show_quality:
    input:
        quality="results/quality/{dataset}/{preprocessing}.tsv",
        manifests=lambda wildcards: CARDS.tables(wildcards.dataset, wildcards.preprocessing),
    output:
        directory("results/quality/{dataset}/{preprocessing}.displays"),
    log:
        "logs/show_quality/{dataset}/{preprocessing}.log",
    benchmark:
        "results/benchmarks/show_quality/{dataset}/{preprocessing}.tsv"
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_of("signal"),
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=lasts(30),
    params:
        script=script("show_quality"),
        derivatives="results/derivatives/{dataset}/{preprocessing}",
        display=lambda wildcards: f"{preprocessing_card(wildcards)['modality']}_group",
        manifests=shortly("manifests"),
        restricted=lambda wildcards: "--restricted" if dataset_card(wildcards).get("restricted") else "",
        code=lambda wildcards: code(
            "displays",
            f"displays.{preprocessing_card(wildcards)['modality']}_group",
            family=CARDS.family(wildcards.preprocessing),
        ),
    shell:
        "python {params.script:q} --quality {input.quality:q} --manifests {params.manifests:q}"
        " --derivatives {params.derivatives:q} --display {params.display} {params.restricted} --out {output:q}"
        " --code {params.code} > {log:q} 2>&1"


use rule show_quality as show_quality_mri with:
    wildcard_constraints:
        preprocessing=PATTERNS.recipes_of("mri"),
    conda:
        "../envs/mri.yaml"
    container:
        CONTAINERS["mri"]
    threads: 1
    resources:
        mem_mb=grows(6000),
        runtime=lasts(60),

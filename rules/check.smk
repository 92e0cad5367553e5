# Before anything is queued: do the study's methods accept their parameters, does the dataset have what they need?


rule check_study:
    input:
        recordings=lambda wildcards: f"results/datasets/{RUNS[wildcards.run].dataset}/recordings.tsv",
    output:
        "results/runs/{run}/checks/{family}.json",
    log:
        "logs/check_study/{run}/{family}.log",
    benchmark:
        "results/benchmarks/check_study/{run}/{family}.tsv"
    wildcard_constraints:
        family="signal",
    priority: 100
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(5),
    params:
        script=script("check_study"),
        root=root_of,
        card=lambda wildcards: as_json(CARDS.to_check(RUNS[wildcards.run], wildcards.family)),
        code=lambda wildcards: code(
            "check", *CARDS.modules_to_check(RUNS[wildcards.run], wildcards.family), family=wildcards.family
        ),
    shell:
        "python {params.script:q} --recordings {input.recordings:q} --root {params.root:q}"
        " --card {params.card:q} --out {output:q} --code {params.code} > {log:q} 2>&1"


use rule check_study as check_study_mri with:
    wildcard_constraints:
        family="mri",
    conda:
        "../envs/mri.yaml"
    container:
        CONTAINERS["mri"]


use rule check_study as check_study_torch with:
    wildcard_constraints:
        family="torch",
    conda:
        "../envs/torch.yaml"
    container:
        CONTAINERS["torch"]

# What was shown, when, and what it is in numbers: a function of the stimuli alone.


rule make_stimuli:
    input:
        recordings="results/datasets/{dataset}/recordings.tsv",
        content="results/datasets/{dataset}/content.json",
    output:
        table="results/stimuli/{dataset}/stimuli.tsv",
        presentations="results/stimuli/{dataset}/presentations.tsv",
    log:
        "logs/make_stimuli/{dataset}.log",
    benchmark:
        "results/benchmarks/make_stimuli/{dataset}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(20),
    params:
        script=script("make_stimuli"),
        root=root_of,
        events=lambda wildcards: as_json(dataset_card(wildcards)["stimuli"]),
        code=lambda wildcards: code("stimuli"),
    shell:
        "python {params.script:q} --recordings {input.recordings:q} --root {params.root:q} --table {output.table:q}"
        " --presentations {output.presentations:q} --rule {params.events:q} --code {params.code} > {log:q} 2>&1"


rule extract_stimuli:
    input:
        table="results/stimuli/{dataset}/stimuli.tsv",
        files=lambda wildcards: files_of("stimuli")(wildcards).values(),
    output:
        "results/stimuli/{dataset}/{stimuli}.npz",
    log:
        "logs/extract_stimuli/{dataset}/{stimuli}.log",
    benchmark:
        "results/benchmarks/extract_stimuli/{dataset}/{stimuli}.tsv"
    wildcard_constraints:
        stimuli=PATTERNS.stimuli_in("signal"),
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=lasts(60),
    params:
        script=script("extract_stimuli"),
        root=root_of,
        provider=lambda wildcards: stimuli_card(wildcards)["provider"],
        settings=lambda wildcards: as_json(stimuli_card(wildcards)["params"]),
        files=lambda wildcards: as_json(files_of("stimuli")(wildcards)),
        code=lambda wildcards: code(
            "stimuli",
            f"providers.{stimuli_card(wildcards)['provider']}",
            family=stimuli_card(wildcards).get("family", "signal"),
        ),
    shell:
        "python {params.script:q} --table {input.table:q} --root {params.root:q} --bundle {output:q}"
        " --provider {params.provider:q} --params {params.settings:q} --files {params.files:q}"
        " --code {params.code} > {log:q} 2>&1"


use rule extract_stimuli as extract_stimuli_torch with:
    wildcard_constraints:
        stimuli=PATTERNS.stimuli_in("torch"),
    conda:
        "../envs/torch.yaml"
    container:
        CONTAINERS["torch"]

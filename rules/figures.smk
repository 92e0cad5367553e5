# Figures and numbers from tables; beside each figure lie the table that was drawn and how it was drawn.


rule collect_choices:
    input:
        observed_fits,
    output:
        "results/runs/{run}/choices.tsv",
    log:
        "logs/collect_choices/{run}.log",
    benchmark:
        "results/benchmarks/collect_choices/{run}.tsv"
    conda:
        "../envs/base.yaml"
    container:
        CONTAINERS["base"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(5),
    params:
        script=script("collect_choices"),
        records=shortly(),
        code=lambda wildcards: code("choices", family="base"),
    shell:
        "python {params.script:q} --records {params.records:q} --out {output:q} --code {params.code} > {log:q} 2>&1"


rule collect_generated:
    input:
        records=lambda wildcards: RUNS[wildcards.run].fits("observed", "fit.json", scored=True),
        # Predictions count through fit.json, which holds their digest.
        predictions=ancient(lambda wildcards: RUNS[wildcards.run].fits("observed", "predictions.npz", scored=True)),
    output:
        "results/runs/{run}/generated.tsv",
    log:
        "logs/collect_generated/{run}.log",
    benchmark:
        "results/benchmarks/collect_generated/{run}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(5),
    params:
        script=script("collect_generated"),
        records=shortly("records"),
        predictions=shortly("predictions"),
        code=lambda wildcards: code("generated"),
    shell:
        "python {params.script:q} --records {params.records:q} --predictions {params.predictions:q} --out {output:q}"
        " --code {params.code} > {log:q} 2>&1"


rule collect_numbers:
    input:
        checks=lambda wildcards: [
            f"results/runs/{wildcards.run}/checks/{family}.json" for family in RUNS[wildcards.run].families
        ],
        scores="results/runs/{run}/scores.tsv",
        summary="results/runs/{run}/summary.tsv",
        claims="results/runs/{run}/claims.json",
        choices="results/runs/{run}/choices.tsv",
        targets="results/runs/{run}/observed/targets.tsv",
        participants=observed_dataset("participants.tsv"),
        content=observed_dataset("content.json"),
        validation=observed_dataset("validation.json"),
        preprocessed=observed_blocks("preprocessed"),
        features=observed_blocks("features"),
    output:
        report(
            "results/runs/{run}/numbers.tsv",
            caption="captions/numbers.rst",
            category="Numbers",
            subcategory="{run}",
            labels={"table": "numbers of {run}"},
        ),
    log:
        "logs/collect_numbers/{run}.log",
    benchmark:
        "results/benchmarks/collect_numbers/{run}.tsv"
    conda:
        "../envs/base.yaml"
    container:
        CONTAINERS["base"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(5),
    params:
        script=script("collect_numbers"),
        about=lambda wildcards: as_json(about(wildcards)),
        preprocessed=shortly("preprocessed"),
        features=shortly("features"),
        code=lambda wildcards: code("numbers", family="base"),
    shell:
        "python {params.script:q} --about {params.about:q} --scores {input.scores:q} --summary {input.summary:q}"
        " --claims {input.claims:q} --choices {input.choices:q} --targets {input.targets:q}"
        " --participants {input.participants:q} --content {input.content:q} --validation {input.validation:q}"
        " --checks {input.checks:q} --preprocessed {params.preprocessed:q} --features {params.features:q}"
        " --out {output:q} --code {params.code} > {log:q} 2>&1"


rule plot_figure:
    input:
        scores="results/runs/{run}/scores.tsv",
        summary="results/runs/{run}/summary.tsv",
        claims="results/runs/{run}/claims.json",
        choices="results/runs/{run}/choices.tsv",
        generated=lambda wildcards: (
            f"results/runs/{wildcards.run}/generated.tsv" if evaluation(wildcards)["task"] == "generate" else []
        ),
    output:
        figure=report(
            "results/runs/{run}/figures/{figure}.svg",
            caption="captions/figure.rst",
            category="Figures",
            subcategory="{run}",
            labels={"run": "{run}", "figure": "{figure}"},
        ),
        printed="results/runs/{run}/figures/{figure}.pdf",
        table="results/runs/{run}/figures/{figure}.tsv",
        spec="results/runs/{run}/figures/{figure}.json",
    log:
        "logs/plot_figure/{run}/{figure}.log",
    benchmark:
        "results/benchmarks/plot_figure/{run}/{figure}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(5),
    params:
        script=script("plot_figure"),
        settings=lambda wildcards: as_json(RUNS[wildcards.run].card["figures"][wildcards.figure]),
        restricted=lambda wildcards: "--restricted" if about(wildcards)["restricted"] else "",
        generated=lambda wildcards, input: ["--generated", input.generated] if input.generated else [],
        code=lambda wildcards: code("figures", f"figures.{wildcards.figure}"),
    shell:
        "python {params.script:q} --figure {wildcards.figure} --params {params.settings:q}"
        " --scores {input.scores:q} --summary {input.summary:q} --claims {input.claims:q}"
        " --choices {input.choices:q} --spec {output.spec:q} {params.restricted} {params.generated:q}"
        " --code {params.code} > {log:q} 2>&1"

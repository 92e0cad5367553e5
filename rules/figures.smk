# Figures from tables; the table that was drawn lies beside each figure.


rule plot_figure:
    input:
        scores="results/runs/{run}/scores.tsv",
        summary="results/runs/{run}/summary.tsv",
        claims="results/runs/{run}/claims.json",
    output:
        figure=report(
            "results/runs/{run}/figures/{figure}.svg",
            caption="captions/figure.rst",
            category="Figures",
            subcategory="{run}",
            labels={"run": "{run}", "figure": "{figure}"},
        ),
        table="results/runs/{run}/figures/{figure}.tsv",
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
        code=lambda wildcards: code("figures", f"figures.{wildcards.figure}"),
    shell:
        "python {params.script:q} --figure {wildcards.figure} --params {params.settings:q}"
        " --scores {input.scores:q} --summary {input.summary:q} --claims {input.claims:q}"
        " --table {output.table:q} --picture {output.figure:q} --code {params.code} > {log:q} 2>&1"

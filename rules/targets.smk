# Targets for people: they look at a configuration, and make no result. `docs/targets.md` says more.
#
# Each calls a command that can be called alone, which then also explains cards that are refused. None has inputs or
# outputs, so that all can be asked for while a run holds Snakemake's lock.


# Where every recording and run stands, also while a run is going on.
rule status:
    log:
        "logs/targets/status.log",
    localrule: True
    conda:
        own_python
    threads: 1
    params:
        command=asking("show_status"),
    shell:
        "{params.command:q} 2>&1 | tee {log:q}"


# What the runs need from elsewhere.
rule prefetch:
    log:
        "logs/targets/prefetch.log",
    localrule: True
    conda:
        own_python
    threads: 1
    params:
        command=asking("prefetch", lambda: ["--containers"] if "apptainer" in engines() else []),
    shell:
        "{params.command:q} 2>&1 | tee {log:q}"


# What is missing on this machine, before anything is queued.
rule doctor:
    log:
        "logs/targets/doctor.log",
    localrule: True
    conda:
        own_python
    threads: 1
    params:
        command=asking("doctor", lambda: ["--needs", *engines()]),
    shell:
        "{params.command:q} 2>&1 | tee {log:q}"


# All figures that are there again, from their tables and specs alone.
rule figures:
    log:
        "logs/targets/figures.log",
    localrule: True
    conda:
        own_python
    threads: 1
    params:
        script=script("redraw_figures"),
    shell:
        "python {params.script:q} results 2>&1 | tee {log:q}"


# Resources by rule, from the benchmarks of what has run.
rule recommend:
    log:
        "logs/targets/recommend.log",
    localrule: True
    conda:
        own_python
    threads: 1
    params:
        command=asking("recommend"),
    shell:
        "{params.command:q} 2>&1 | tee {log:q}"


# What a storage policy would remove; the command that removes it is named.
rule clean:
    log:
        "logs/targets/clean.log",
    localrule: True
    conda:
        own_python
    threads: 1
    params:
        command=asking("clean_results"),
    shell:
        "{params.command:q} 2>&1 | tee {log:q}"


# Jobs, hours, disk and inodes.
rule plan:
    log:
        "logs/targets/plan.log",
    localrule: True
    conda:
        own_python
    threads: 1
    params:
        command=asking("show_plan"),
    shell:
        "{params.command:q} 2>&1 | tee {log:q}"

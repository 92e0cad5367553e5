#!/bin/sh
# What every image of this folder does once its files are copied; called by %post of <family>.def, which names the family.
# Installs what envs/<family>.yaml pins, at the versions of constraints.txt, and writes into the image's labels what it
# was made of, so that an image that no longer fits the pins can be told.
set -eu
family=$1
here=/opt/replicortex

if ! python3 -c 'import ensurepip' 2>/dev/null; then
    echo "install.sh: the base image has no Python that can make environments; take one with python3 and python3-venv" >&2
    exit 1
fi
python3 -m venv /opt/venv
# conda-forge calls PyPI's torch pytorch; Python itself is that of the base image.
sed -n 's/^ *- \([A-Za-z0-9_.-]*\)==\{0,1\}[0-9].*/\1/p' "$here/environment.yaml" |
    sed -e 's/^pytorch$/torch/' -e 's/^py-xgboost-cpu$/xgboost-cpu/' | grep -v '^python$' >"$here/packages.txt"
/opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
    --constraint "$here/constraints.txt" --requirement "$here/packages.txt"
/opt/venv/bin/pip check

# A host's variables reach into a container, but not those that the image sets: empty ones mean nothing to Python, and
# nothing of the host's can be added to this interpreter.
cat >>"$APPTAINER_ENVIRONMENT" <<'END'
export PATH=/opt/venv/bin:$PATH PYTHONNOUSERSITE=1 PYTHONPATH= PYTHONHOME= PYTHONPLATLIBDIR= PYTHONSTARTUP=
END

# Compared by scripts/replicortex/images.py when Snakemake starts.
definition=$(cat "$here/image.def" "$here/install.sh" "$here/environment.yaml" | sha256sum | cut -d ' ' -f 1)
packages=$(/opt/venv/bin/pip freeze --disable-pip-version-check | grep '==' | sort | tr '\n' ' ')
{
    echo "replicortex.family $family"
    echo "replicortex.definition $definition"
    echo "replicortex.packages ${packages% }"
    echo "replicortex.python $(/opt/venv/bin/python -c 'import platform; print(platform.python_version())')"
} >>"$APPTAINER_LABELS"

#!/usr/bin/env bash
# What only a GPU can show, in at most eight minutes of one; on a processor, a small part of it.
#
#   benchmarks/device.sh [FOLDER]     results, benchmarks/results/device by default
#
# A part whose result is there is not run again, and one that was cut off goes on. The faces' generator has to be in
# the cache where there is no package index: `ganenc generate -m mobilestylegan-ffhq-1024` fetches it, GANENC_HOME says
# where to. SECONDS_LEFT is the time that there is, PYTHON the interpreter.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=$(mkdir -p "${1:-$here/results/device}" && cd "${1:-$here/results/device}" && pwd)
python=${PYTHON:-python}
ends=$((SECONDS + ${SECONDS_LEFT:-480}))
model=mobilestylegan-ffhq-1024
work=$results/work
mkdir -p "$work"
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then device=cuda; else device=cpu; fi

# part NAME MOST COMMAND...: run it for at most MOST of the seconds left, unless NAME.md is there.
part() {
    local name=$1 most=$2 left=$((ends - SECONDS)) began=$SECONDS
    shift 2
    [ -e "$results/$name.md" ] && { echo "$name: done before"; return; }
    [ "$left" -gt 10 ] || { echo "$name: no time left"; return; }
    timeout --signal INT --kill-after 20 "$((left < most ? left : most))" "$@" > "$work/$name.log" 2>&1
    echo "$name: exit $?, $((SECONDS - began)) s; its output is in $work/$name.log"
}

bench() {  # bench NAME MOST SCRIPT ARGUMENTS...
    part "$1" "$2" "$python" "$here/$3.py" --out "$results/$1.md" "${@:4}"
}

encoder() {  # Train an encoder for the time that is left, at most five minutes, and tell what it gives.
    [ -e "$results/encoder.md" ] && { echo "encoder: done before"; return; }
    local left=$((ends - SECONDS - 60))
    part pretrain "$((left < 300 ? left : 300))" "$python" -m ganenc pretrain --model $model --device $device \
        --out "$work/encoder" --steps 100000 --set encoder.overrides.size=[256,256] --set saving.checkpoint_every=50 --set objective.backbone=squeeze "$@"
    bench encoder 60 faces --device $device --work "$work/faces" --encoder "$work/encoder" --freedoms encode
}

folder() {  # folder COUNT: so many photos through one pass of an encoder: a folder; again, when all are done; a shard.
    [ -e "$results/folder.md" ] && { echo "folder: done before"; return; }
    local said photos=$work/photos options=(--model stylegan2-hands64 --device $device)
    said=$(part photos 60 "$python" -m ganenc generate "${options[@]}" -n "$1" --out "$photos")
    echo "$said"
    [[ $said == *"exit 0,"* ]] || return
    tar cf "$work/photos.tar" -C "$photos" --exclude latents.safetensors .
    for one in "folder photos folder" "folder-again photos folder" "shard photos.tar shards"; do
        read -r name from out <<< "$one"
        said=$(part "$name" 90 "$python" -m ganenc invert "$work/$from" "${options[@]}" --method encode --quiet --out "$work/$out")
        echo "$said"
        [[ $said == *"exit 0,"* ]] || return
        printf -- '- %s\n' "${said%%;*}" >> "$work/folder.md"
    done
    { printf '# A folder and a shard of %s photos on %s\n\n' "$1" "$device"; cat "$work/folder.md"; } > "$results/folder.md"
}

if [ $device = cuda ]; then
    for precision in "" "--autocast bf16" "--autocast bf16 --compile"; do
        # shellcheck disable=SC2086
        bench "steps$(tr -d ' -' <<< "${precision//autocast/}")" 50 steps --networks hands64 f256 f1024 --rounds 3 \
            --device cuda $precision
    done
    bench graphs 60 graphs --device cuda
    bench processes 90 processes --networks hands64 --device cuda
    bench synthesis 30 synthesis --networks hands64 f256 f1024 --device cuda
    bench scaling 60 scaling --networks f256 f1024 --batches 1 4 --steps 2 --device cuda
    folder 2000
    bench faces 150 faces --all --device cuda --work "$work/faces" --freedoms "w+, constant, noise not held" w+
    encoder --set speed.autocast=bf16 --set data.batch=4
else
    bench steps 60 steps --networks hands64 --latents hands64 --rounds 1 --threads 1
    bench graphs 60 graphs --quick --threads 1
    bench synthesis 60 synthesis --quick --threads 1
    bench scaling 60 scaling --quick --threads 1
    folder 100
    bench faces 120 faces --quick --threads 1 --work "$work/faces"
    encoder --set data.batch=1
fi

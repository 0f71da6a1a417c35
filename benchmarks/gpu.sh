#!/usr/bin/env bash
# Run what waits for a GPU, most valuable first; numbers as JSON with the device's name, and what is printed, in a folder.
#
#     bash benchmarks/gpu.sh [FOLDER]           # default: out/gpu
#     TINY=1 bash benchmarks/gpu.sh [FOLDER]    # the same commands on the CPU with tiny shapes (default: out/gpu_tiny)
#
# A part whose JSON is there is skipped: run it again after a break. A part may take 10 minutes; one that fails or takes
# longer is told at the end, with exit status 1, and does not stop the others. PYTHON names another interpreter.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python}
failed=()

# part NAME SCRIPT FLAGS...: the JSON gets its name only when the script has ended well.
part() {
    local json=$folder/$1.json log=$folder/$1.log
    if [ -s "$json" ]; then
        echo "$1: there already"
        return
    fi
    echo "$1: benchmarks/$2.py ${*:3}"
    if timeout 600 "$python" "benchmarks/$2.py" "${@:3}" --output "$json.part" >"$log" 2>&1 && mv "$json.part" "$json"; then
        echo "$1: $json"
    else
        tail -n 3 "$log"
        failed+=("$1 (see $log)")
    fi
}

dtype=(--dtype bfloat16)
if [ -n "${TINY:-}" ]; then
    folder=${1:-out/gpu_tiny}
    t5=(--shape tiny --device cpu) llama=("${t5[@]}")
    examples=(--num_examples 3) codes=4 evaluations=12 repetitions=1 texts=6
    batch=(--batch_size 2 --source_length 6 --target_length 4) budgets=(2048)
else
    folder=${1:-out/gpu}
    t5=(--shape large --device cuda) llama=(--shape smollm --device cuda)
    examples=(--num_examples 32) codes=256 evaluations=1000000 repetitions=20 texts=2000
    batch=(--batch_size 32 --source_length 246 --target_length 16) budgets=(4096 16384 65536)
    "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
        { echo "PyTorch finds no CUDA device here; TINY=1 tries the commands on the CPU." >&2; exit 2; }
fi
mkdir -p "$folder"

# One task's search within 1.3 x the bare passes, and its 20 epochs (the default) in under 60 s.
part search_limit search_throughput "${t5[@]}" "${dtype[@]}" "${examples[@]}" --parts throughput --num_codes "$codes"
part search_20_epochs search_throughput "${t5[@]}" "${dtype[@]}" "${examples[@]}" --parts pruning --rounds 1 \
    --search_evaluations "$evaluations"
# Model FLOPs utilisation of at least 45% in stage 2; the profile, in the log, says where the rest goes.
part training_step training_step "${t5[@]}" "${dtype[@]}" "${batch[@]}" --repetitions "$repetitions" --profile
part predict_throughput predict_throughput "${t5[@]}" "${dtype[@]}" --num_texts "$texts" --token_budgets "${budgets[@]}"
# The decoder-only twins.
part search_decoder_only search_decoder_only "${llama[@]}" "${dtype[@]}" "${examples[@]}" --num_codes "$codes"
part training_step_decoder_only training_step --decoder_only "${llama[@]}" "${dtype[@]}" "${batch[@]}" \
    --repetitions "$repetitions" --profile
part serving serving "${t5[@]}" --num_texts "$texts"

if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi

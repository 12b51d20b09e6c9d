#!/usr/bin/env bash
# What a machine with a card makes of this stack, in ten minutes: GPU tests, the bench at the paper's
# sizes, training steps of LoRA and of all weights, a short real training of `tiny`.
#   models/gpu_check.sh [--device cuda] [--depth 30] [--out build/gpu_check] [--wheels DIR]
#                       [--stages "facts tests ..."] [--limit STAGE=SECONDS]...
#   models/gpu_check.sh --device cpu --depth 2          # every branch, small, on a processor
# One folder comes of it: summary.json, a JSON and a log of each stage, weights. A stage that fails or
# runs past its limit hides no other; the exit status is then 1 (2: a mistake in the arguments).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

DEVICE=cuda DEPTH=30 OUT=build/gpu_check WHEELS=""
STAGES="facts tests bench bench240 compiled speed data folder lora full tiny distill"
declare -A LIMIT=(
  [wheels]=120 [facts]=10 [tests]=50 [bench]=45 [bench240]=45 [compiled]=85 [speed]=40 [data]=40
  [folder]=80 [lora]=50 [full]=50 [tiny]=80 [distill]=25
)
declare -A ASKED=()

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  printf '%s\n' "$1" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage "$1: a value is missing, or there is no such option"
  case $1 in
    --device) DEVICE=$2 ;;
    --depth) DEPTH=$2 ;;
    --out) OUT=$2 ;;
    --wheels) WHEELS=$2 ;;
    --stages) STAGES=$2 ;;
    --limit)
      [[ $2 =~ ^([a-z0-9]+)=([0-9]+)$ && -n ${LIMIT[${BASH_REMATCH[1]}]:-} ]] ||
        usage "--limit $2: STAGE=SECONDS, of ${!LIMIT[*]}"
      ASKED[${BASH_REMATCH[1]}]=${BASH_REMATCH[2]} ;;
    *) usage "no option $1" ;;
  esac
  shift 2
done
[[ $DEPTH =~ ^[1-9][0-9]*$ ]] || usage "--depth $DEPTH: a number of layers, 1 or more"
for stage in $STAGES; do
  [ -n "${LIMIT[$stage]:-}" ] || usage "no stage '$stage'; there are ${!LIMIT[*]}"
done

for stage in "${!LIMIT[@]}"; do
  # A processor takes its time, small as its sizes are.
  [ "$DEVICE" != cpu ] || LIMIT[$stage]=$((8 * LIMIT[$stage]))
  LIMIT[$stage]=${ASKED[$stage]:-${LIMIT[$stage]}}
done

mkdir -p "$OUT" || exit 2
OUT=$(cd "$OUT" && pwd)
rm -f "$OUT"/summary.json "$OUT"/*.stage

# Sizes: the paper's on a card; on a processor the same commands, small.
if [ "$DEVICE" = cpu ]; then
  BENCH=(--views 1 --frames 5 --plans 1) WIDTH=(--heads 2 --vae-width 20 --text-width 64)
  SPEED=(--plans 1 --steps 2 --reference 3) EPISODES=2 STEPS=2 TINY_STEPS=4 LORA_STEPS=2
  FEWER=2 BATCH=2
else
  BENCH=(--views 3 --plans 5) WIDTH=()
  SPEED=(--plans 5 --precision auto --compiled) EPISODES=24 STEPS=5 TINY_STEPS=300 LORA_STEPS=5
  FEWER=20 BATCH=8
fi

if [ -n "$WHEELS" ]; then PYTHON=$OUT/venv/bin/python
elif [ -n "${PYTHON:-}" ]; then :
elif [ -x .venv/bin/python ]; then PYTHON=$PWD/.venv/bin/python
else PYTHON=python3; fi
# With nothing built or sourced the packages are found where they lie.
packages=$(printf '%s:' "$PWD"/ros2_ws/src/*/ "$PWD"/models/*/ "$PWD"/calibration)
mvista() {
  "$PYTHON" -c 'import sys
sys.path += sys.argv.pop(1).split(":")
from mvista_cli.cli import main
if __name__ == "__main__":
    sys.exit(main())' "$packages" "$@"
}

# A stage is a function; what it prints is its log. 3: it has nothing to do here, in a line.
wheels() {
  python3 -m venv "$OUT/venv" &&
    "$PYTHON" -m pip install --quiet --no-index --find-links "$WHEELS" -r requirements.lock
}
facts() {
  { nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv || true; } 2>&1
  "$PYTHON" - "$OUT/facts.json" "$DEVICE" <<'PY'
import json, os, platform, sys
import torch, diffusers
cards = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
facts = {"torch": torch.__version__, "cuda": torch.version.cuda, "diffusers": diffusers.__version__,
         "python": platform.python_version(), "cores": os.cpu_count(), "device": sys.argv[2],
         "cards": [{"name": c.name, "memory_gib": c.total_memory / 2**30} for c in cards]}
open(sys.argv[1], "w").write(json.dumps(facts, indent=1) + "\n")
if sys.argv[2].startswith("cuda") and not cards:
    sys.exit(f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no card here")
PY
}
tests() {
  local files
  # Collecting all tests would take a minute of the ten.
  mapfile -t files < <(grep -rl --include='test_*.py' 'pytest\.mark\.gpu' tests)
  "$PYTHON" -m pytest -q -m gpu "${files[@]}" -p no:cacheprovider --junit-xml "$OUT/tests.xml"
}
bench() {
  mvista bench planner --random-weights --preset "${1:-wan22_ti2v_5b}" --device "$DEVICE" \
    --depth "$DEPTH" "${BENCH[@]}" --json "$OUT/${2:-bench}.json"
}
compiled() {
  mvista bench planner --random-weights --device "$DEVICE" --depth "$DEPTH" "${BENCH[@]}" \
    --compiled --json "$OUT/compiled.json"
}
bench240() { bench wan22_ti2v_5b_240 bench240; }
speed() {
  mvista bench speed --device "$DEVICE" "${SPEED[@]}" --json "$OUT/speed.json"
}
data() {
  mvista dataset collect --episodes "$EPISODES" --preset wan22_ti2v_5b --out "$OUT/data/wan" \
    --workers 2 &&
    mvista dataset collect --episodes "$EPISODES" --preset tiny --out "$OUT/data/tiny/touch" \
      --workers 2
}
folder() {
  mvista model make-random "$OUT/folder" --depth "$DEPTH" "${WIDTH[@]}" &&
    mvista text encode "$OUT/folder" --device "$DEVICE"
}
# Fine-tuning: `mvista train generator` of a preset of Wan's size, where this tree has it.
tune() {
  if ! mvista train --help | grep -q -- --lora; then
    echo "mvista train has no fine-tuning (--lora) in this tree"
    return 3
  fi
  echo "batch: $BATCH" >"$OUT/profile.yaml"
  mvista train generator --preset wan22_ti2v_5b --start "$OUT/folder" --data "$OUT/data/wan" \
    --device "$DEVICE" --restart --profile "$OUT/profile.yaml" "$@"
}
lora() { tune --lora 16 --steps "$LORA_STEPS" --out "$OUT/lora"; }
full() {
  # Encoded once: both learn the same episodes.
  mkdir -p "$OUT/full"
  if [ -d "$OUT/lora/latents" ]; then cp -r "$OUT/lora/latents" "$OUT/full/"; fi
  tune --steps "$STEPS" --out "$OUT/full"
}
tiny() {
  local shared=(--preset tiny --data "$OUT/data/tiny" --out "$OUT/tiny_run" --steps "$TINY_STEPS"
    --restart)
  mvista train codec "${shared[@]}" &&
    mvista train trajectory "${shared[@]}" &&
    mvista train generator "${shared[@]}" --device "$DEVICE" &&
    mvista train pack "${shared[@]}" --checkpoint "$OUT/tiny"
}
distill() {
  mvista train distill --start "$OUT/tiny" --data "$OUT/data/tiny" --out "$OUT/distill" \
    --steps "$FEWER" --restart --device "$DEVICE"
}

failed=0
run_stage() {
  local name=$1 began=$EPOCHREALTIME code watch child
  echo "$name ... at most ${LIMIT[$name]} s"
  # A group of its own, so that a limit ends what the stage started too.
  set -m
  ("$name") >"$OUT/$name.log" 2>&1 &
  child=$!
  (sleep "${LIMIT[$name]}" && touch "$OUT/$name.late" &&
    kill -TERM -- "-$child" && sleep 5 && kill -KILL -- "-$child") 2>/dev/null &
  watch=$!
  set +m
  wait "$child" 2>/dev/null
  code=$?
  kill -- "-$watch" 2>/dev/null
  wait "$watch" 2>/dev/null
  local state=ok
  [ "$code" -eq 0 ] || state=failed
  [ "$code" -ne 3 ] || state=skipped
  [ ! -e "$OUT/$name.late" ] || state=late
  rm -f "$OUT/$name.late"
  case $state in failed | late) failed=1 ;; esac
  local last
  last=$(grep -v '^[[:space:]]*$' "$OUT/$name.log" | tail -1)
  printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$state" "$code" "$began $EPOCHREALTIME" "$last" \
    >>"$OUT/order.stage"
  echo "  $state${last:+: $last}"
}

for stage in ${WHEELS:+wheels} $STAGES; do run_stage "$stage"; done

python3 - "$OUT" <<'PY'
import json, pathlib, sys
out = pathlib.Path(sys.argv[1])
rows = []
for line in (out / "order.stage").read_text(errors="replace").splitlines():
    name, state, code, times, last = line.split("\t", 4)
    began, ended = map(float, times.replace(",", ".").split())
    rows.append({"stage": name, "state": state, "exit": int(code),
                 "seconds": round(ended - began, 2), "last_line": last})
(out / "summary.json").write_text(json.dumps({"stages": rows}, indent=1) + "\n")
(out / "order.stage").unlink()
PY
echo "$OUT/summary.json"
exit "$failed"

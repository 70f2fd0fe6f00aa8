#!/usr/bin/env bash
# What held-out rows say of the finished runs of family-gpt1, a line each: configs/family-gpt1/table.sh RUN
set -euo pipefail
run=${1:-runs/family-gpt1}
figure() { sed -n "s/^ *\"$2\": *\(-\{0,1\}[0-9.e-]*\).*/\1/p" "$1" | sed -n "${3:-1}p"; }
printf '%-28s %-9s %-18s %-9s %-9s %-9s %-9s %s\n' run accuracy '95%' majority macro_f1 matthews spearman 'loss'
for summary in "$run"/*-lm*/summary.json; do
  name=$(basename "$(dirname "$summary")")
  accuracy=$(figure "$summary" accuracy)
  # an interval is a list of two lines
  interval=$(sed -n '/_ci": \[/,/\]/p' "$summary" | tr -d ' \n' | sed -e 's/.*\[\([0-9.e-]*\),\([0-9.e-]*\)\].*/\1 \2/')
  [ -n "$interval" ] && interval=$(printf '[%.3f, %.3f]' $interval)
  show() { [ -n "$1" ] && printf '%.3f' "$1" || printf -- '–'; }
  printf '%-28s %-9s %-18s %-9s %-9s %-9s %-9s %s\n' "$name" "$(show "$accuracy")" "$interval" "$(show "$(figure "$summary" majority)")" \
    "$(show "$(figure "$summary" macro_f1)")" "$(show "$(figure "$summary" matthews)")" "$(show "$(figure "$summary" spearman)")" "$(show "$(figure "$summary" eval_loss)")"
done

#!/usr/bin/env bash
# Tries `label push` and `label pull` on a real Label Studio: starts one on loopback, makes two users (one with a legacy token, one with a personal
# access token), pushes, annotates through the API as both, pulls, compares. Bounded in time; removes all it made.
#
#   pip install label-studio          # 1.23 was tried; in a virtual environment, whose label-studio is named by LABEL_STUDIO
#   LABEL_STUDIO=venv/bin/label-studio scripts/label-studio-check.sh
set -euo pipefail
cd "$(dirname "$0")/.."

studio=${LABEL_STUDIO:-label-studio}
if ! command -v "$studio" >/dev/null; then
  echo "SKIPPED: label-studio is not installed (pip install label-studio, then LABEL_STUDIO=.../bin/label-studio $0)" >&2
  exit 0
fi
python=$(dirname "$(command -v "$studio")")/python3
[ -x "$python" ] || python=python3

exe=$(cargo test --release -p label --test suite --no-run 2>&1 | tee /dev/stderr | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
[ -x "$exe" ] || { echo "the tests of label were not built" >&2; exit 1; }
work=$(mktemp -d)
pid=
finish() {
  if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap finish EXIT

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
legacy=$("$python" -c 'import secrets; print(secrets.token_hex(20))')
password=$("$python" -c 'import secrets; print(secrets.token_hex(12))')
export LABEL_STUDIO_BASE_DATA_DIR=$work/data collect_analytics=False SENTRY_DSN= FRONTEND_SENTRY_DSN=
mkdir -p "$work/data"
timeout 1800 "$studio" start --no-browser --internal-host 127.0.0.1 --port "$port" --username ann@example.org --password "$password" \
  --user-token "$legacy" --enable-legacy-api-token --log-level ERROR >"$work/log" 2>&1 &
pid=$!
for _ in $(seq 900); do # its first start migrates a database: half a minute of work
  curl -fs -m 5 -o /dev/null "$url/health" && break
  kill -0 "$pid" 2>/dev/null || { tail -20 "$work/log" >&2; echo "label-studio ended while starting" >&2; exit 1; }
  sleep 1
done
curl -fs -m 5 -o /dev/null "$url/health" || { tail -20 "$work/log" >&2; echo "label-studio does not answer after a quarter of an hour" >&2; exit 1; }

# The second user signs up as a person would and makes a personal access token.
printf %s "$legacy" >"$work/ann"
"$python" - "$url" bob@example.org "$password" >"$work/bob" <<'PYTHON'
import http.cookiejar, json, sys, urllib.parse, urllib.request

base, email, password = sys.argv[1:]
jar = http.cookiejar.CookieJar()
web = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
token = lambda: next((c.value for c in jar if c.name == "csrftoken"), "")
page = base + "/user/signup/"
web.open(page, timeout=60).read()
fields = {"email": email, "password": password, "allow_newsletters": "false", "csrfmiddlewaretoken": token()}
web.open(urllib.request.Request(page, urllib.parse.urlencode(fields).encode(), {"Referer": page}), timeout=60).read()
headers = {"Content-Type": "application/json", "X-CSRFToken": token(), "Referer": base}
answer = web.open(urllib.request.Request(base + "/api/token/", b"{}", headers), timeout=60)
sys.stdout.write(json.load(answer)["token"])
PYTHON

LABEL_STUDIO_URL=$url LABEL_STUDIO_ANN=$work/ann LABEL_STUDIO_BOB=$work/bob \
  timeout 600 "$exe" a_real_one --nocapture
echo "label push and pull agree with this Label Studio"

# Steps of a test on hardware, and the page about them; scripts/hil.sh and scripts/hil-cuda.sh source it.
# Before it: `report`, the HTML file to write, and `on_device COMMAND`, which runs a command there.
# shellcheck shell=bash disable=SC2154

failures=0 done_steps=0

escape() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'; }

begin_report() { # TITLE
    cat >"$report" <<PAGE
<!doctype html><meta charset="utf-8"><title>$1</title>
<style>body{font:16px sans-serif;max-width:60em;margin:2em auto}pre{background:#eee;padding:.5em;overflow:auto;max-height:20em}.ok{color:#070}.failed{color:#b00}.left{color:#777}</style>
<h1>$1</h1><p>$(date -u +'%Y-%m-%d %H:%M UTC'), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)</p>
PAGE
}

# Runs a command on the device; it is as it has to be if it ends with 0 and its output has PATTERN.
step() { # NAME LOOK-FOR PATTERN COMMAND
    local start=$SECONDS status=0 verdict=ok output
    printf '%s ... ' "$1" >&2
    output=$(on_device "$4" 2>&1) || status=$?
    if [ $status -ne 0 ] || ! grep -qE -e "$3" <<<"$output"; then
        verdict=failed
        failures=$((failures + 1))
    fi
    done_steps=$((done_steps + 1))
    printf '%s, %d s\n' "$verdict" $((SECONDS - start)) >&2
    {
        printf '<h2>%s: <span class="%s">%s</span></h2><p>%d s, exit code %d. Look for: %s</p>\n' "$1" $verdict $verdict $((SECONDS - start)) $status "$(escape <<<"$2")"
        printf '<pre>%s</pre><pre>%s</pre>\n' "$(escape <<<"$4")" "$(tail -c 20000 <<<"$output" | escape)"
    } >>"$report"
}

leave_out() { # NAME WHY
    printf '%s ... left out: %s\n' "$1" "$2" >&2
    printf '<h2>%s: <span class="left">left out</span></h2><p>%s</p>\n' "$1" "$(escape <<<"$2")" >>"$report"
}

# Ends the script: 0 if all steps were as they have to be, else 1.
end_report() {
    printf '<p>%d steps, %d failed</p>\n' $done_steps $failures >>"$report"
    printf '%s: %d steps, %d failed\n' "$report" $done_steps $failures
    [ $failures -eq 0 ]
}

#!/usr/bin/env bash
# Rolls an image out through a canary that healer judges. docs/pipelines.md says how, and what a run leaves that is stopped.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: rollout.sh [STEP] --image NAME@sha256:DIGEST --rules FILE --prometheus URL [OPTIONS]

Rolls an image out through a canary that healer judges. Run it again at any time: it does what is left to do.

Steps:
  run       canary, judge, and then promote or rollback (the default)
  canary    put the image into the canary at weight 0; when it is rolled out, give it its share of the requests
  judge     wait for a verdict: healer gate
  promote   put the image into stable; when it is rolled out, set the canary's weight to 0
  rollback  set the canary's weight to 0; its pods stay, for people to look at
  status    print the images, the canary's share, and the share that this script gave it

Options:
  --image REF             The image, by its digest: what is judged is what is promoted.
  --rules FILE            The rule file with the canary rule; the daemon has the same.
  --prometheus URL        The Prometheus that healer gate asks.
  --route KIND/NAME       An httproute, a virtualservice, or the canary's ingress.        [httproute/model-ab-testing]
  --stable NAME           The stable Deployment; its Service has the same name.           [tensorflow-serving-v1]
  --canary NAME           The canary's Deployment; its Service has the same name.         [tensorflow-serving-v2]
  --container NAME        The container that gets the image, in both Deployments.         [tensorflow-serving]
  -n, --namespace NS      The namespace of all of them.                                   [production]
  --weight PERCENT        The canary's share of the requests while it is judged, 1 to 99. [10]
  --timeout TIME          How long healer gate waits for a verdict.                       [4h]
  --rollout-timeout TIME  How long each of the two rollouts may take.                     [40m]
  --watch SECONDS         Time between two looks at the weight while the gate waits.      [10]
  --unjudged WHAT         Without a verdict in time: hold (the weight stays) or rollback. [hold]
  --again                 Give traffic to an image from which it was taken before.
  --unguarded             Go on although no healer in the cluster guards the canary.
  -h, --help              Print this text.

Environment: HEALER and KUBECTL are the commands (split at spaces), by default healer and kubectl. Both read KUBECONFIG.

Exit codes:
  0         promoted: stable has the image and gets all requests
  1         rolled back: healer found the canary bad, or a rollout failed. Stable has its old image and gets all requests
  2         not judged in time: the canary keeps its share, and healer's rule goes on guarding it. Run again to go on. (With
            --unjudged rollback stable has its old image and gets all requests.)
  3         not finished: a rollout takes longer, somebody else changed something, or the canary could not be judged or guarded
  64        wrong options; nothing was done
  130, 143  interrupted: the canary keeps the share that is printed. Run again to go on
  others    a command failed: its error is printed, and the share that the canary keeps
TEXT
}

readonly ROLLED_BACK=1 UNJUDGED=2 UNFINISHED=3 USAGE=64
readonly GIVEN=rollout.healer.dev/given REPLACED=rollout.healer.dev/replaced
step=run image='' rules='' prometheus='' again='' unguarded='' unjudged=hold
route=httproute/model-ab-testing stable=tensorflow-serving-v1 canary=tensorflow-serving-v2 container=tensorflow-serving
namespace=production weight=10 timeout=4h rollout_timeout=40m watch=10
read -ra HEALER <<<"${HEALER:-healer}"
read -ra KUBECTL <<<"${KUBECTL:-kubectl}"
said='' # whether the end was explained

say() { printf '%s\n' "$*" >&2; }
end() { said=yes; say "${@:2}"; exit "$1"; }
wrong() { end $USAGE "rollout.sh: $*; rollout.sh --help tells more"; }
kube() { "${KUBECTL[@]}" --namespace "$namespace" "$@"; }

# -- the route: which share the canary has, and the one write that changes it ------------------------------------------

# In jq. A split is a rule of the route with both sides; `at` is the JSON pointer to a side, `field` that to its name below it.
# shellcheck disable=SC2016
readonly LIBRARY='
  def annotation($name): (.metadata.annotations // {})[$name];
  def nginx($name): annotation("nginx.ingress.kubernetes.io/" + $name);
  def sides:
    if .kind == "HTTPRoute" then .spec.rules[]?.backendRefs // [] | map({written: .name, name, weight, field: "/name"})
    else .spec.http[]?.route // []
      | map({written: .destination.host, name: (.destination.host | split(".")[0]), weight, field: "/destination/host"}) end;
  def splits:
    (if .kind == "HTTPRoute" then ["rules", "backendRefs"] else ["http", "route"] end) as [$rules, $list]
    | [[sides], [.spec[$rules] | keys[]]] | transpose | map(.[1] as $rule | .[0] | to_entries
      | map(.value + {at: "/spec/\($rules)/\($rule)/\($list)/\(.key)", weight: (.value.weight // 1), set: (.value.weight != null)})
      | select(any(.name == $stable) and any(.name == $canary)))
    | if length == 0 then error("no rule of the route splits the requests between \($stable) and \($canary)")
      elif any(length > 2) then error("a rule of the route has further backends beside \($stable) and \($canary)") else . end;
  def total: nginx("canary-weight-total") // "100" | tonumber;
  def share:
    if .kind != "Ingress" then [splits[] | (map(.weight) | add) as $all
      | map(select(.name == $canary).weight)[0] * 100 / ([$all, 1] | max)] | max
    elif nginx("canary") != "true" then error("the Ingress has no annotation nginx.ingress.kubernetes.io/canary: \"true\"")
    elif any(.spec.rules[].http.paths[].backend.service.name; . != $canary) then error("the Ingress does not lead to \($canary) alone")
    else (nginx("canary-weight") // "0" | tonumber) * 100 / total end | round;
  def shift($to):
    if .kind == "Ingress" then "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight" as $at
      | (if nginx("canary-weight") then {op: "test", path: $at, value: nginx("canary-weight")} else empty end),
        {op: "add", path: $at, value: ($to * total / 100 | round | tostring)}
    else splits[][]
      | {op: "test", path: (.at + .field), value: .written},
        (select(.set) | {op: "test", path: (.at + "/weight"), value: .weight}),
        {op: "add", path: (.at + "/weight"), value: (if .name == $canary then $to else 100 - $to end)} end;
  def note($text):
    (select(.metadata.annotations == null) | {op: "add", path: "/metadata/annotations", value: {}}),
    {op: "add", path: ("/metadata/annotations/" + ($given | sub("/"; "~1"))), value: $text};'

of_route() { jq --raw-output --arg stable "$stable" --arg canary "$canary" --arg given "$GIVEN" "${@:2}" "$LIBRARY $1"; }

# look: read what there is into `objects`, `share` (percent), `given` (the share that this script gave), `given_to` (which image),
# `stable_image` and `canary_image`. Returns 1 when it cannot be read.
look() {
  local facts
  objects=$(kube get "$route" "deployment/$stable" "deployment/$canary" --output json) || return 1
  # shellcheck disable=SC2016
  facts=$(of_route '
    def image: first(.spec.template.spec.containers[] | select(.name == $container).image)
      // error("deployment/\(.metadata.name) has no container \($container)");
    (.items[0] | share, (annotation($given) // "-")), (.items[1, 2] | image)' \
    --arg container "$container" <<<"$objects") || return 1
  { read -r share; read -r given given_to; read -r stable_image; read -r canary_image; } <<<"$facts"
  # Others may write annotations, and bash evaluates what stands in an arithmetic comparison.
  [[ $given =~ ^[0-9]{1,3}$ ]] || { given=- given_to=""; }
}

# give PERCENT [IMAGE]: in one write, with the note that this image was given it; only from the weights that `look` has read. What
# somebody has changed since is read anew to take traffic, and never to give it.
give() {
  local patch tries=3 before="instead of $share %"
  [[ $share -ne $1 || -n ${2:-} ]] || { say "weight: $canary has $1 % of the requests on $route"; return 0; }
  [[ $share -ne $1 ]] || before='as before'
  while :; do
    # shellcheck disable=SC2016
    patch=$(of_route '.items[0] | [shift($to | tonumber), (select($image != "") | note("\($to) \($image)"))] | tojson' \
      --arg to "$1" --arg image "${2:-}" <<<"$objects")
    ! kube patch "$route" --field-manager healer-rollout --type json --patch "$patch" >/dev/null || break
    tries=$((tries - 1))
    [[ $1 -eq 0 && $tries -gt 0 ]] \
      || end $UNFINISHED "the weights of $route were not changed (the error is above). $canary had $share %. Run again to go on"
    look
  done
  share=$1
  say "weight: $canary gets $1 % of the requests on $route, $before"
}

# -- the Deployments ---------------------------------------------------------------------------------------------------

# put IMAGE DEPLOYMENT [OLD]: in one write, with the note which image it replaces.
put() {
  local patch
  # shellcheck disable=SC2016
  patch=$(jq --null-input --arg name "$container" --arg image "$1" --arg note "$REPLACED" --arg old "${3:-}" \
    '{spec: {template: {spec: {containers: [{$name, $image}]}}}} + if $old == "" then {} else {metadata: {annotations: {($note): $old}}} end')
  kube patch "deployment/$2" --field-manager healer-rollout --patch "$patch" >/dev/null
  say "image: $2 gets $1"
}

# roll_out DEPLOYMENT: wait for its rollout, and set `rolled_out` to yes, failed or late.
roll_out() {
  local reason
  rolled_out=yes
  ! follow kube rollout status "deployment/$1" --timeout "$rollout_timeout" || return 0
  reason=$(kube get "deployment/$1" --output 'jsonpath={.status.conditions[?(@.type=="Progressing")].reason}')
  if [[ $reason == ProgressDeadlineExceeded ]]; then rolled_out=failed; else rolled_out=late; fi
}

late() { end $UNFINISHED "the rollout of $1 is not finished (the error is above). $canary has $2 % of the requests. Run again to go on"; }

# -- processes: a signal ends what runs, and the share that the canary keeps is printed --------------------------------

# follow COMMAND...: run it so that a signal is heeded at once. Its output goes to standard error. Returns its exit code.
follow() {
  "$@" >&2 &
  wait $!
}

# interrupted CODE: end what runs in the background: a kubectl that waits for a rollout, or the gate.
interrupted() {
  local running
  trap '' INT TERM
  mapfile -t running < <(jobs -p)
  [[ ${#running[@]} -eq 0 ]] || kill -TERM "${running[@]}" 2>/dev/null || true
  wait
  exit "$1"
}

explain() {
  local code=$?
  [[ $code -ne 0 && -z $said ]] || return 0
  if look 2>/dev/null; then
    say "ended with exit code $code: $canary keeps $share % of the requests on $route, and healer's rule guards it." \
      "Run again to go on, or take them by: rollout.sh rollback"
  else
    say "ended with exit code $code, and $route cannot be read: nothing was changed since the last line 'weight:' above"
  fi
}

# -- the steps ---------------------------------------------------------------------------------------------------------

# Whether healer's rule, a person, or whoever applies manifests took traffic from the image since it was given some.
was_taken() { [[ $given_to == "$image" && $share -lt $given ]]; }

taken() {
  say "$canary was given $given % of the requests for $image, and has $share %. What healer says of $canary:"
  kube get incidents --output json | jq --raw-output --arg name "$canary" '.items[] | select(.spec.workload.name == $name)
    | "  incident/\(.metadata.name) is \(.status.state): \(.status.reason.text)"' >&2 || true
  give 0
  end $ROLLED_BACK "rolled back: $stable has $stable_image and gets all requests. If the image was not the cause: rollout.sh --again"
}

# Before the canary gets anything: the gate could judge it, and a healer of the cluster guards it.
prepare() {
  local report rule found
  report=$("${HEALER[@]}" compare "deployment/$canary" --namespace "$namespace" --canary "$rules" --prometheus "$prometheus" \
    --output json) || end $UNFINISHED "healer cannot judge $canary (the error is above). It gets no requests"
  rule=$(jq --raw-output .rule <<<"$report")
  [[ -z $unguarded ]] || return 0
  found=$("${HEALER[@]}" status --namespace "$namespace" --output json) \
    || end $UNFINISHED "no healer in the cluster leads, so nobody would guard $canary. Start it, or go on by --unguarded"
  case $(jq --raw-output --arg rule "$rule" '.rules | if . == null then "unknown"
    else map(select(.name == $rule))[0].mode // "none" end' <<<"$found") in
    enforce) ;;
    unknown) say "healer leads, but which rules it has cannot be read (healer status tells why): see that it has $rule in mode enforce" ;;
    *) end $UNFINISHED "healer has no rule $rule in mode enforce, so that nobody would guard $canary. Give it $rules, or go on by --unguarded" ;;
  esac
}

step_canary() {
  look
  if [[ $stable_image == "$image" ]]; then
    say "image: $stable has $image already"
    return
  fi
  [[ -n $again ]] || ! was_taken || taken
  if [[ $given_to == "$image" && $share -eq $given && $share -eq $weight && $canary_image == "$image" ]]; then
    say "weight: $canary has $share % of the requests on $route already"
    return
  fi
  if [[ $canary_image != "$image" ]]; then
    give 0
    put "$image" "$canary"
  fi
  roll_out "$canary"
  look
  case $rolled_out in
    failed) give 0; end $ROLLED_BACK "rolled back: the rollout of $canary failed. $stable has $stable_image and gets all requests" ;;
    late) late "$canary" "$share" ;;
  esac
  prepare
  give "$weight" "$image"
}

# Sets `verdict`: good, bad, or none.
step_judge() {
  local gate pause ended code=0
  look
  verdict=good
  [[ $stable_image != "$image" ]] || return 0
  verdict=none
  "${HEALER[@]}" gate "deployment/$canary" --namespace "$namespace" --canary "$rules" --prometheus "$prometheus" --timeout "$timeout" >&2 &
  gate=$! ended=''
  while [[ $ended != "$gate" ]]; do
    sleep "$watch" & pause=$!
    code=0
    wait -n -p ended "$gate" "$pause" || code=$?
    if [[ $ended == "$gate" ]]; then
      kill "$pause" 2>/dev/null || true
    elif look && was_taken; then
      kill -TERM "$gate" 2>/dev/null || true
      wait "$gate" || true
      code=1  # not the exit code of the pause: whoever gives the traffic back meanwhile has not judged
      break
    fi
  done
  look
  [[ $canary_image == "$image" ]] || end $UNFINISHED "$canary has $canary_image by now: somebody else rolls out, and this roll-out ends"
  ! was_taken || taken
  case $code in 0) verdict=good ;; 1) verdict=bad ;; esac
}

step_promote() {
  look
  [[ $canary_image == "$image" || $stable_image == "$image" ]] || end $UNFINISHED "$canary has $canary_image, which is not to be promoted"
  [[ $stable_image == "$image" ]] || ! was_taken || taken
  if [[ $stable_image != "$image" ]]; then
    put "$image" "$stable" "$stable_image"
  fi
  roll_out "$stable"
  look
  case $rolled_out in
    failed) restore "the rollout of $stable failed" ;;
    late) late "$stable" "$share" ;;
  esac
  ! was_taken || restore "somebody took traffic from $canary while $stable was rolled out"
  give 0 "$image"
  say "promoted: $stable has $image and gets all requests"
}

# restore WHY: stable gets its old image again. Its old pods serve until then, or new ones that are ready.
restore() {
  local old
  give 0
  old=$(kube get "deployment/$stable" --output json | jq --raw-output --arg note "$REPLACED" '.metadata.annotations[$note] // ""')
  [[ -n $old ]] || end $UNFINISHED "$1, and no note says which image $stable had: kubectl rollout undo deployment/$stable"
  put "$old" "$stable"
  roll_out "$stable"
  [[ $rolled_out == yes ]] || end $UNFINISHED "$1. $stable gets $old again, and that rollout is not finished either: run again"
  end $ROLLED_BACK "rolled back: $1. It has $old again and gets all requests"
}

step_rollback() {
  look
  if [[ -n $image && $canary_image != "$image" ]]; then
    end $UNFINISHED "$canary has $canary_image by now: somebody else rolls out, and nothing was changed"
  fi
  give 0
}

step_status() {
  look
  printf '%s: %s\n%s: %s, %s %% of the requests on %s\n' "$stable" "$stable_image" "$canary" "$canary_image" "$share" "$route"
  [[ -z $given_to ]] || printf 'given: %s %% for %s\n' "$given" "$given_to"
}

not_judged() {
  if [[ $unjudged == rollback ]]; then
    step_rollback
    end $UNJUDGED "not judged in time, and taken back: $stable has $stable_image and gets all requests"
  fi
  end $UNJUDGED "not judged in time: $canary keeps $share % of the requests on $route, and healer's rule guards it." \
    "Run again to go on, or take them by: rollout.sh rollback"
}

bad() {
  step_rollback
  end $ROLLED_BACK "rolled back: $canary with $image is bad. $stable has $stable_image and gets all requests"
}

decide() { case $verdict in good) "$@" ;; bad) bad ;; *) not_judged ;; esac; }

main() {
  local needs=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      run | canary | judge | promote | rollback | status) step=$1 ;;
      --again) again=yes ;;
      --unguarded) unguarded=yes ;;
      -h | --help) usage; exit 0 ;;
      --image | --rules | --prometheus | --route | --stable | --canary | --container | -n | --namespace | --weight | --timeout | \
        --rollout-timeout | --watch | --unjudged)
        [[ $# -gt 1 && -n $2 ]] || wrong "$1 needs a value"
        name=${1#--} name=${name/#-n/namespace}
        printf -v "${name//-/_}" %s "$2"
        shift
        ;;
      *) wrong "$1 is neither a step nor an option" ;;
    esac
    shift
  done
  case $step in run | canary | judge) needs=(image rules prometheus) ;; promote) needs=(image) ;; esac
  for name in "${needs[@]}"; do [[ -n ${!name} ]] || wrong "$step needs --$name"; done
  [[ -z $image || $image =~ ^[^[:space:]]+@sha256:[0-9a-f]{64}$ ]] || wrong "--image $image has no digest (NAME@sha256:...): a tag may name another image by the time it is promoted"
  [[ $route =~ ^(httproute|virtualservice|ingress)/[^/]+$ ]] || wrong "--route $route is not httproute/NAME, virtualservice/NAME or ingress/NAME"
  [[ $weight =~ ^[1-9][0-9]?$ ]] || wrong "--weight $weight is not a whole number from 1 to 99"
  [[ $unjudged == hold || $unjudged == rollback ]] || wrong "--unjudged $unjudged is neither hold nor rollback"
  [[ -z $rules || -r $rules ]] || wrong "--rules $rules cannot be read"
  ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 501)) || wrong "bash $BASH_VERSION is too old: 5.1 or later is needed"
  for name in jq "${KUBECTL[0]}"; do type "$name" >/dev/null 2>&1 || wrong "$name is not installed"; done

  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM
  trap explain EXIT
  case $step in
    run) step_canary; step_judge; decide step_promote ;;
    judge) step_judge; decide say "good: $canary with $image" ;;
    *) "step_$step" ;;
  esac
}

main "$@"

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
  rollback  set the canary's weight to 0; its pods stay, for people to look at. Stable gets back the image that a promotion
            which was not finished has replaced
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
  --context NAME          The context of the kubeconfig, for kubectl and for healer.      [the current one]
  --weight PERCENT        The canary's share of the requests while it is judged, 1 to 99. [10]
  --timeout TIME          How long healer gate waits for a verdict.                       [4h]
  --rollout-timeout TIME  How long each of the two rollouts may take.                     [40m]
  --watch SECONDS         Time between two looks at the weight while the gate waits.      [10]
  --unjudged WHAT         Without a verdict in time: hold (the weight stays) or rollback. [hold]
  --again                 Give traffic to an image from which it was taken before.
  --unguarded             Go on although no healer in the cluster guards the canary, or it is paused there, or that is not known.
  -h, --help              Print this text.

Environment: HEALER and KUBECTL are the commands (split at spaces), by default healer and kubectl. Both read KUBECONFIG, and both
get the context that kubectl has, so that they ask one cluster.

Exit codes:
  0         promoted: stable has the image and gets all requests
  1         rolled back: healer found the canary bad, or a rollout failed. Stable has its old image and gets all requests
  2         not judged in time: the canary keeps its share, and healer's rule goes on guarding it. Run again to go on. (With
            --unjudged rollback stable has its old image and gets all requests.)
  3         not finished: a rollout takes longer, somebody else changed something, or the canary could not be judged or guarded
  64        wrong options; nothing was done
  129, 130, 143  interrupted: the canary keeps the share that is printed. Run again to go on
  others    a command failed: its error is printed, and the share that the canary keeps
TEXT
}

readonly ROLLED_BACK=1 UNJUDGED=2 UNFINISHED=3 USAGE=64
readonly GIVEN=rollout.healer.dev/given REPLACED=rollout.healer.dev/replaced
step=run image='' rules='' prometheus='' again='' unguarded='' unjudged=hold
context='' route=httproute/model-ab-testing stable=tensorflow-serving-v1 canary=tensorflow-serving-v2 container=tensorflow-serving
namespace=production weight=10 timeout=4h rollout_timeout=40m watch=10
read -ra HEALER <<<"${HEALER:-healer}"
read -ra KUBECTL <<<"${KUBECTL:-kubectl}"
said='' # whether the end was explained
guard='this run has not seen whether healer guards it (healer status tells)'

say() { printf '%s\n' "$*" >&2; }
end() { said=yes; say "${@:2}"; exit "$1"; }
wrong() { end $USAGE "rollout.sh: $*; rollout.sh --help tells more"; }
kube() { "${KUBECTL[@]}" --namespace "$namespace" "$@"; }
somebody() { end $UNFINISHED "$1 by now: somebody else rolls out, and ${2:-nothing was changed}"; }

# -- the route: which share the canary has, and the one write that changes it ------------------------------------------

# In jq. A split is a rule of the route with both sides; `at` is the JSON pointer to a side, `field` that to its name below it. Shares
# are in millionths, rounded up: a remainder of one request in a million is one. A weight that is left out is 1 in an HTTPRoute, and 0
# in a VirtualService. ingress-nginx reads no total below 100.
# shellcheck disable=SC2016
readonly LIBRARY='
  def annotation($name): (.metadata.annotations // {})[$name];
  def nginx($name): annotation("nginx.ingress.kubernetes.io/" + $name) // "";
  def whole($name; $default): nginx($name) | if . == "" then $default elif test("\\A[0-9]{1,9}\\z") then tonumber
    else error("the annotation nginx.ingress.kubernetes.io/\($name) is \(tojson), which is no whole number: write one") end;
  def sides:
    if .kind == "HTTPRoute" then .spec.rules[]?.backendRefs // [] | map({written: .name, name, weight, field: "/name", unset: 1})
    else .spec.http[]?.route // []
      | map({written: .destination.host, name: (.destination.host | split(".")[0]), weight, field: "/destination/host", unset: 0}) end;
  def lists:
    (if .kind == "HTTPRoute" then ["rules", "backendRefs"] else ["http", "route"] end) as [$rules, $list]
    | [[sides], [.spec[$rules] | keys[]]] | transpose | map(.[1] as $rule | .[0] | to_entries
      | map(.value + {at: "/spec/\($rules)/\($rule)/\($list)/\(.key)", weight: (.value.weight // .value.unset),
          set: (.value.weight != null)}));
  def split_up: any(.name == $stable) and any(.name == $canary);
  def splits:
    lists | map(select(split_up))
    | if length == 0 then error("no rule of the route splits the requests between \($stable) and \($canary)")
      elif any(length > 2) then error("a rule of the route has further backends beside \($stable) and \($canary)") else . end;
  def total: [whole("canary-weight-total"; 100), 100] | max;
  def millionths($all): if . == 0 then 0 else [. * 1000000 / $all | ceil, 1000000] | min end;
  def shares:
    if .kind != "Ingress" then [splits[] | (map(.weight) | add) as $all | map(select(.name == $canary).weight)[0] | millionths($all)]
    elif nginx("canary") | IN("1", "t", "T", "TRUE", "true", "True") | not
    then error("the Ingress has no annotation nginx.ingress.kubernetes.io/canary: \"true\"")
    elif any(.spec.rules[].http.paths[].backend.service.name; . != $canary) then error("the Ingress does not lead to \($canary) alone")
    else total as $all | [whole("canary-weight"; 0) | millionths($all)] end;
  def weight_of($to): $to * total / 100 | ceil;
  def goal($to): if .kind == "Ingress" then total as $all | weight_of($to) | millionths($all) else $to * 10000 end;
  def besides:
    if .kind == "Ingress" then . as $ingress | [("header", "cookie") as $by
      | select($ingress | nginx("canary-by-" + $by) != "") | "requests with the \($by) of the annotation canary-by-\($by)"]
    else [lists[] | select((split_up | not) and (any(.name == $canary and .weight > 0) or (map(.name) == [$canary])))
      | "those of \(.[0].at | split("/")[0:4] | join("/"))"] end;
  def shift($to):
    if .kind == "Ingress" then "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight" as $at
      | (if nginx("canary-weight") != "" then {op: "test", path: $at, value: nginx("canary-weight")} else empty end),
        (if nginx("canary-weight-total") != "" then {op: "test", path: ($at + "-total"), value: nginx("canary-weight-total")} else empty end),
        {op: "add", path: $at, value: (weight_of($to) | tostring)}
    else splits[][]
      | {op: "test", path: (.at + .field), value: .written},
        (select(.set) | {op: "test", path: (.at + "/weight"), value: .weight}),
        {op: "add", path: (.at + "/weight"), value: (if .name == $canary then $to else 100 - $to end)} end;
  def note($text):
    (select(.metadata.annotations == null) | {op: "add", path: "/metadata/annotations", value: {}}),
    {op: "add", path: ("/metadata/annotations/" + ($given | sub("/"; "~1"))), value: $text};'

of_route() { jq --raw-output --arg stable "$stable" --arg canary "$canary" --arg given "$GIVEN" "${@:2}" "$LIBRARY $1"; }

# look: read what there is: `objects`; the canary's `share` in percent, and in millionths the `most` and the `least` that it has in a
# rule; `besides`, what reaches it whatever the weights are; `given`, the percent that this script gave it, `given_to` which image and
# `given_at` what time, and `goal`, what that is in millionths; `stable_image`, `canary_image`; `stable_lacks` and `canary_lacks`, why
# they could serve nobody; `replaced`, the image that stable had before `replaced_for`. Returns 1 when it cannot be read.
look() {
  local facts word rest
  objects=$(kube get "$route" "deployment/$stable" "deployment/$canary" --output json) || return 1
  # Others may write annotations: one that is not as this script writes it must be no number of its arithmetic, which bash evaluates.
  # shellcheck disable=SC2016
  facts=$(of_route '
    def line: gsub("\\s+"; " ");
    def image: first(.spec.template.spec.containers[] | select(.name == $container).image)
      // error("deployment/\(.metadata.name) has no container \($container)") | line;
    def lacks: (.status.readyReplicas // 0) as $ready
      | if (.status.observedGeneration // 0) < .metadata.generation then "is not observed yet by its controller"
        elif $ready < 1 or (.status.updatedReplicas // 0) < 1 then "has no ready pod (of \(.spec.replicas // 1) that are wanted)"
        else "" end;
    (.items[0] | shares as $shares | ($shares | max, min, (max / 10000)), (besides | join(", ")),
      ((annotation($given) // "-") | if test("\\A(-|([1-9]?[0-9]|100) [^\\s]+( [0-9TZ:-]+)?)\\z") then . else "? \(tojson)" end),
      (((annotation($given) // "") | capture("\\A(?<to>[1-9]?[0-9]|100) ").to // "0" | tonumber) as $to | goal($to))),
    (.items[1, 2] | image, lacks), (.items[1] | annotation($replaced) // "-" | line)' \
    --arg container "$container" --arg replaced "$REPLACED" <<<"$objects") || return 1
  {
    read -r most; read -r least; read -r share; read -r besides; read -r given given_to given_at; read -r goal
    read -r stable_image; read -r stable_lacks; read -r canary_image; read -r canary_lacks; read -r replaced word replaced_for rest
  } <<<"$facts"
  [[ $word == for && -n $replaced_for && -z $rest ]] || replaced_for=''
}

see() { look || end $UNFINISHED "$route, $stable and $canary cannot be read (the error is above). Run again to go on"; }

# The note on the route says which share the image was given. Without it nothing tells whether somebody has taken it since.
heed() {
  [[ $given != '?' ]] || end $UNFINISHED "the annotation $GIVEN of $route is not what rollout.sh writes, a percent, an image and a time:" \
    "$given_to $given_at. Nothing was done. See who wrote it, and remove it: kubectl annotate $route $GIVEN-"
}

# give PERCENT [IMAGE]: in one write, with the note that this image was given it; only from the weights that `look` has read. What
# somebody has changed since is read anew to take traffic, and never to give it. After taking it looks whether there is a remainder.
give() {
  local patch tries=3 before="instead of $share %"
  if [[ $1 -eq 0 && $most -eq 0 && (-z ${2:-} || "$given $given_to" == "0 $2") ]]; then
    say "weight: $canary has 0 % of the requests on $route"
    return 0
  fi
  [[ $share != "$1" ]] || before='as before'
  while :; do
    # shellcheck disable=SC2016
    patch=$(of_route '.items[0] | [shift($to | tonumber), (select($image != "") | note("\($to) \($image) \($at)"))] | tojson' \
      --arg to "$1" --arg image "${2:-}" --arg at "$(date -u +%Y-%m-%dT%H:%M:%SZ)" <<<"$objects")
    if kube patch "$route" --field-manager healer-rollout --type json --patch "$patch" >/dev/null; then
      [[ $1 -eq 0 ]] || break
      see
      [[ $most -gt 0 ]] || break
    fi
    tries=$((tries - 1))
    [[ $1 -eq 0 && $tries -gt 0 ]] \
      || end $UNFINISHED "the weights of $route were not changed (the error is above). $canary had $share %. Run again to go on"
    see
  done
  share=$1
  say "weight: $canary gets $1 % of the requests on $route, $before"
  [[ $1 -ne 0 || -z $besides ]] || say "weight: but no weight rules these, which still lead to $canary: $besides"
}

# -- the Deployments ---------------------------------------------------------------------------------------------------

# noted PATCH NOTE: a patch of a Deployment with the note which image was replaced, and for which; "" removes it.
noted() {
  # shellcheck disable=SC2016
  jq --null-input --arg note "$REPLACED" --arg text "$2" --argjson patch "$1" \
    '$patch + {metadata: {annotations: {($note): (if $text == "" then null else $text end)}}}'
}

# put IMAGE DEPLOYMENT [NOTE]: in one write, with the note.
put() {
  local patch
  # shellcheck disable=SC2016
  patch=$(jq --null-input --arg name "$container" --arg image "$1" '{spec: {template: {spec: {containers: [{$name, $image}]}}}}')
  [[ $# -lt 3 ]] || patch=$(noted "$patch" "$3")
  kube patch "deployment/$2" --field-manager healer-rollout --patch "$patch" >/dev/null \
    || end $UNFINISHED "deployment/$2 did not get $1 (the error is above). Run again to go on"
  say "image: $2 gets $1"
}

# roll_out DEPLOYMENT: wait for its rollout, and set `rolled_out` to yes, failed or late.
roll_out() {
  local reason
  rolled_out=yes
  ! follow "${KUBECTL[@]}" --namespace "$namespace" rollout status "deployment/$1" --timeout "$rollout_timeout" || return 0
  reason=$(kube get "deployment/$1" --output 'jsonpath={.status.conditions[?(@.type=="Progressing")].reason}') || reason=''
  if [[ $reason == ProgressDeadlineExceeded ]]; then rolled_out=failed; else rolled_out=late; fi
}

late() { end $UNFINISHED "the rollout of $1 is not finished (the error is above). $canary has $2 % of the requests. Run again to go on"; }

# -- processes: a signal ends what runs, and the share that the canary keeps is printed --------------------------------

# follow COMMAND...: run it so that a signal is heeded at once. Its output goes to standard error. Returns its exit code. The command is
# a program: a function would be a shell of its own, which leaves its program behind when it is ended.
follow() {
  "$@" >&2 &
  wait $!
}

# interrupted CODE: end what runs in the background: a kubectl that waits for a rollout, or the gate.
interrupted() {
  local running
  trap '' HUP INT TERM
  mapfile -t running < <(jobs -p)
  [[ ${#running[@]} -eq 0 ]] || kill -TERM "${running[@]}" 2>/dev/null || true
  wait
  exit "$1"
}

explain() {
  local code=$?
  [[ $code -ne 0 && -z $said ]] || return 0
  if look 2>/dev/null; then
    say "ended with exit code $code: $canary keeps $share % of the requests on $route, and $guard." \
      "$stable has $stable_image. Run again to go on, or take them by: rollout.sh rollback"
  else
    say "ended with exit code $code, and $route cannot be read: nothing was changed since the last line 'weight:' above"
  fi
  # A command that failed by chance with the code of a verdict is none.
  [[ $code -ne $ROLLED_BACK && $code -ne $UNJUDGED ]] || exit $UNFINISHED
}

# -- the steps ---------------------------------------------------------------------------------------------------------

# Whether healer's rule, a person, or whoever applies manifests took traffic from the image since it was given some.
was_taken() { [[ $given_to == "$image" && $least -lt $goal ]]; }

# by_hand: whether it was not healer that took the traffic: it has no incident about the canary since the image was given its share.
# Returns 1 when it has one. What cannot be known is for people to say.
by_hand() {
  local found
  # shellcheck disable=SC2016
  found=$([[ -n $given_at ]] && kube get incidents --output json | jq --arg name "$canary" --arg since "${given_at%Z}" \
    'any(.items[] | select(.spec.workload.name == $name); [.spec.openedAt, .status.changedAt // ""] | map(.[:19]) | max >= $since)') \
    || end $UNFINISHED "$canary was given $given % of the requests and has $share %, and whether healer took them cannot be read." \
      "$stable has $image. If healer took them: rollout.sh rollback. If it was you: kubectl annotate $route $GIVEN-, and run again"
  [[ $found == false ]]
}

taken() {
  say "$canary was given $given % of the requests for $image, and has $share %. What healer says of $canary:"
  kube get incidents --output json | jq --raw-output --arg name "$canary" '.items[] | select(.spec.workload.name == $name)
    | "  incident/\(.metadata.name) is \(.status.state): \(.status.reason.text)"' >&2 || true
  give 0
  end $ROLLED_BACK "rolled back: $stable has $stable_image and gets all requests. If the image was not the cause: rollout.sh --again"
}

# Before the canary gets anything: the gate could judge it, and a healer of the cluster guards it.
prepare() {
  local report rule found lacks
  report=$("${HEALER[@]}" compare "deployment/$canary" "${asked[@]}" --canary "$rules" --prometheus "$prometheus" \
    --output json) || end $UNFINISHED "healer cannot judge $canary (the error is above). It gets no requests"
  rule=$(jq --raw-output .rule <<<"$report")
  [[ -z $unguarded ]] || return 0
  found=$("${HEALER[@]}" status "${asked[@]}" --output json) \
    || end $UNFINISHED "no healer in the cluster leads, so nobody would guard $canary. Start it, or go on by --unguarded"
  jq --raw-output '.notes // [] | .[] | "healer status: \(.)"' <<<"$found" >&2
  # Pauses of other kinds may be unknown. A healer that does not say which are unknown is too old for an answer.
  # shellcheck disable=SC2016
  lacks=$(jq --raw-output --arg rule "$rule" --arg namespace "$namespace" --arg canary "$canary" '
    def paused: first(.pauses // [] | .[] | .on as $on
      | select($on.kind == "Lease" or ($on.kind == "Namespace" and $on.name == $namespace)
          or ($on == {kind: "Deployment", namespace: $namespace, name: $canary}))
      | "healer is paused on \($on.kind | ascii_downcase)/\($on.name)" + ([(select(.by != "") | " by \(.by)"),
          (select(.until != "") | " until \(.until)"), (select(.reason != "") | " (\(.reason))")] | join("")));
    def unread: if .pausesUnread == null then "? healer status does not say which pauses it cannot read"
      else first(.pausesUnread[] | select(IN("Lease", "Namespace", "Deployment")) | "? which \(ascii_downcase)s are paused cannot be read")
      // "" end;
    def row: .rules | map(select(.name == $rule))[0];
    paused // (if .rules == null then "? which rules healer has cannot be read"
      elif row.mode != "enforce" then "healer has no rule \($rule) in mode enforce"
      elif row.scope.namespaces // ["*"] | any(. == "*" or . == $namespace) | not
      then "the scope of healer'"'"'s rule \($rule) has not the namespace \($namespace)"
      elif row.workloads == 0 then "healer'"'"'s rule \($rule) covers no workload (\(row.doubts // [] | join("; ")))"
      elif row.workloads == null then "? what healer'"'"'s rule \($rule) covers is not counted yet"
      else unread end)' <<<"$found")
  case $lacks in
    '') guard="healer's rule guards it" ;;
    '? '*) end $UNFINISHED "${lacks#? }, so that nobody knows whether healer guards $canary: it gets no requests. The lines 'healer status:' above" \
      "tell what is unknown. Run again to go on, or go on by --unguarded" ;;
    *) end $UNFINISHED "$lacks, so that nobody would guard $canary: it gets no requests. Give healer $rules, resume it, or go on by --unguarded" ;;
  esac
}

step_canary() {
  see
  if [[ $stable_image == "$image" ]]; then
    say "image: $stable has $image already"
    return
  fi
  heed
  [[ -n $again ]] || ! was_taken || taken
  if [[ "$given $given_to $canary_image" == "$weight $image $image" && $least -eq $goal && $most -eq $goal && -z $canary_lacks ]]; then
    say "weight: $canary has $share % of the requests on $route already"
    return
  fi
  if [[ $canary_image != "$image" ]]; then
    give 0
    put "$image" "$canary"
  elif [[ -n $canary_lacks && $most -gt 0 ]]; then
    say "$canary $canary_lacks: its requests are taken until it has one"
    give 0 "$image"
  fi
  roll_out "$canary"
  see
  [[ $canary_image == "$image" ]] || somebody "$canary has $canary_image"
  case $rolled_out in
    failed) give 0; end $ROLLED_BACK "rolled back: the rollout of $canary failed. $stable has $stable_image and gets all requests" ;;
    late) late "$canary" "$share" ;;
  esac
  if [[ -n $canary_lacks ]]; then
    [[ $most -eq 0 ]] || give 0 "$image"
    end $UNFINISHED "$canary $canary_lacks: it gets no requests. Scale it up (kubectl scale deployment/$canary --replicas 1), and run again"
  fi
  prepare
  give "$weight" "$image"
}

# Sets `verdict`: good, bad, or none.
step_judge() {
  local gate pause ended code=0
  see
  verdict=good
  [[ $stable_image != "$image" ]] || return 0
  heed
  verdict=none
  "${HEALER[@]}" gate "deployment/$canary" "${asked[@]}" --canary "$rules" --prometheus "$prometheus" --timeout "$timeout" >&2 &
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
  see
  [[ $canary_image == "$image" ]] || somebody "$canary has $canary_image"
  heed
  ! was_taken || taken
  case $code in 0) verdict=good ;; 1) verdict=bad ;; esac
}

step_promote() {
  see
  [[ $canary_image == "$image" || $stable_image == "$image" ]] || end $UNFINISHED "$canary has $canary_image, which is not to be promoted"
  heed
  if [[ $stable_image != "$image" ]]; then
    ! was_taken || taken
    [[ $most -gt 0 ]] || end $UNFINISHED "$canary has none of the requests on $route, so that nobody judges it now: $image is not promoted"
    put "$image" "$stable" "$stable_image for $image"
  fi
  roll_out "$stable"
  see
  [[ $stable_image == "$image" ]] || somebody "$stable has $stable_image"
  case $rolled_out in
    failed) restore "the rollout of $stable failed" ;;
    late) late "$stable" "$share" ;;
  esac
  [[ -z $stable_lacks ]] || end $UNFINISHED "$stable $stable_lacks: it does not get all requests. $canary keeps $share %. Run again to go on"
  if was_taken; then
    by_hand || restore "healer took traffic from $canary while $stable was rolled out"
    say "weight: $canary was given $given % of the requests and has $share %. healer has no incident about it: that was done by hand"
  fi
  give 0 "$image"
  [[ $replaced == - ]] || kube patch "deployment/$stable" --field-manager healer-rollout --patch "$(noted '{}' '')" >/dev/null
  say "promoted: $stable has $image and gets all requests"
}

# put_back: stable gets again the image that it had before this one. Its old pods serve until then, or new ones that are ready.
put_back() {
  say "image: $stable had $replaced before $stable_image"
  put "$replaced" "$stable" ''
  roll_out "$stable"
  [[ $rolled_out == yes ]] || end $UNFINISHED "$stable gets $replaced again, and that rollout is not finished: see kubectl rollout status deployment/$stable"
}

# restore WHY: take back a promotion that was not finished.
restore() {
  give 0
  see
  [[ $stable_image == "$image" ]] || somebody "$1, and $stable has $stable_image" 'its image was not changed'
  if [[ $replaced_for != "$image" ]]; then
    [[ $replaced == - ]] || say "the annotation $REPLACED of deployment/$stable is of another roll-out (${replaced_for:-it does not say which}): it is not heeded"
    end $UNFINISHED "$1, and no note says which image $stable had before $image: kubectl rollout undo deployment/$stable"
  fi
  put_back
  end $ROLLED_BACK "rolled back: $1. It has $replaced again and gets all requests"
}

step_rollback() {
  see
  if [[ -n $image && $canary_image != "$image" ]]; then
    somebody "$canary has $canary_image"
  fi
  give 0
  [[ $replaced_for != "$stable_image" || -n $image && $image != "$stable_image" ]] || put_back
}

step_status() {
  see
  printf '%s: %s\n%s: %s, %s %% of the requests on %s\n' "$stable" "$stable_image" "$canary" "$canary_image" "$share" "$route"
  [[ -z $given_to ]] || printf 'given: %s %% for %s\n' "$given" "$given_to"
  [[ -z $replaced_for ]] || printf 'replaced: %s for %s\n' "$replaced" "$replaced_for"
}

not_judged() {
  if [[ $unjudged == rollback ]]; then
    step_rollback
    end $UNJUDGED "not judged in time, and taken back: $stable has $stable_image and gets all requests"
  fi
  end $UNJUDGED "not judged in time: $canary keeps $share % of the requests on $route, and $guard." \
    "Run again to go on, or take them by: rollout.sh rollback"
}

bad() {
  step_rollback
  end $ROLLED_BACK "rolled back: $canary with $image is bad. $stable has $stable_image and gets all requests"
}

decide() { case $verdict in good) "$@" ;; bad) bad ;; *) not_judged ;; esac; }

# kubectl and healer ask one cluster, and the same all the time: that of the context which kubectl has now. healer without a context
# would ask the cluster of its own pod first, and does not read the options of KUBECTL.
one_cluster() {
  local word seen
  for word in "${KUBECTL[@]:1}"; do
    case $word in
      --kubeconfig | --kubeconfig=* | --server | --server=* | --cluster | --cluster=*)
        wrong "${word%%=*} in KUBECTL: healer would ask another cluster than kubectl. Set KUBECONFIG, and --context" ;;
    esac
  done
  [[ -z $context ]] || KUBECTL+=(--context "$context")
  if seen=$("${KUBECTL[@]}" config view --minify --output 'jsonpath={.current-context}' 2>/dev/null) && [[ -n $seen ]]; then
    [[ $seen == "$context" ]] || KUBECTL+=(--context "$seen")
    context=$seen
  elif [[ -n $context ]]; then
    wrong "--context $context is not in the kubeconfig"
  fi
  asked=(--namespace "$namespace" ${context:+--context "$context"})
}

main() {
  local needs=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      run | canary | judge | promote | rollback | status) step=$1 ;;
      --again) again=yes ;;
      --unguarded) unguarded=yes ;;
      -h | --help) usage; exit 0 ;;
      --image | --rules | --prometheus | --route | --stable | --canary | --container | -n | --namespace | --context | --weight | --timeout | \
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

  one_cluster
  trap 'interrupted 129' HUP
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

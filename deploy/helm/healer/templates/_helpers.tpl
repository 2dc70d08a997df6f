{{/* The labels of every object, and what selects healer's pods. */}}
{{- define "healer.labels" -}}
app.kubernetes.io/name: healer
{{- end }}

{{/* Who is granted something. */}}
{{- define "healer.subjects" -}}
- kind: ServiceAccount
  name: healer
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* The name of healer's Service in the cluster. */}}
{{- define "healer.host" -}}
healer.{{ .Release.Namespace }}.svc
{{- end }}

{{/* Where Prometheus and Alertmanager are, in a NetworkPolicy. */}}
{{- define "healer.monitoring" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .Values.networkPolicy.monitoringNamespace }}
{{- end }}

{{/* The bytes of the record and so many MiB. */}}
{{- define "healer.recordSize" -}}
{{ add (div (index . 0).Values.record.totalSize 1048576) (index . 1) }}Mi
{{- end }}

{{/* The resources; a record that goes with the pod needs ephemeral storage. */}}
{{- define "healer.resources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- if and .Values.record.enabled (not .Values.record.existingClaim) }}
{{- $requests := dict "ephemeral-storage" (include "healer.recordSize" (list . 128)) }}
{{- $limits := dict "ephemeral-storage" (include "healer.recordSize" (list . 320)) }}
{{- $resources = mustMergeOverwrite $resources (dict "requests" $requests "limits" $limits) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

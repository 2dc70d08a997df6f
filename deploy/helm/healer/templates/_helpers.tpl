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

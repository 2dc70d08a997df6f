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

{{- define "labels" -}}
app.kubernetes.io/name: thecloud-ccm
app.kubernetes.io/part-of: thecloud-kubernetes
{{- end }}

{{- define "selector" -}}
app.kubernetes.io/name: thecloud-ccm
app.kubernetes.io/component: manager
{{- end }}

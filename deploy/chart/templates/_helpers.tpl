{{- define "labels" -}}
app.kubernetes.io/name: thecloud-csi
app.kubernetes.io/part-of: thecloud-kubernetes
{{- end }}

{{- define "selector" -}}
app.kubernetes.io/name: thecloud-csi
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "image" -}}
{{- printf "%s:%s" .repository .tag }}
{{- end }}

{{- define "env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "snapshots" -}}
{{- if and .Values.snapshots.enabled (eq .Values.platform.tier "extended") }}true{{ end }}
{{- end }}

{{- define "sidecar.image" -}}
image: {{ include "image" (get .root.Values.images .name) }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
{{- end }}

{{- define "sidecar.args" -}}
- --csi-address=/csi/csi.sock
- --v=2
- --leader-election
- --kube-api-qps=20
- --kube-api-burst=100
{{- end }}

{{- define "sidecar.extra" -}}
{{- range . }}
- {{ . }}
{{- end }}
{{- end }}

{{- define "sidecar.rest" -}}
resources:
  {{- toYaml .Values.sidecars.resources | nindent 2 }}
securityContext:
  {{- include "unprivileged" . | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
- name: socket-dir
  mountPath: /csi
- name: kube-api-access
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

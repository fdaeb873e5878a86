{{- define "lamflow.labels" -}}
app.kubernetes.io/name: lamflow
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "lamflow.secret" -}}
{{ .Values.s3.existingSecret | default "lamflow-s3" }}
{{- end }}

{{- define "lamflow.s3port" -}}
{{- $host := (urlParse .Values.s3.endpoint).host -}}
{{- if contains ":" $host }}{{ splitList ":" $host | last }}{{ else if hasPrefix "https" .Values.s3.endpoint }}443{{ else }}80{{ end }}
{{- end }}

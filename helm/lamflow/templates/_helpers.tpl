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

{{- /* Keys of the object store for the Secret of this chart, as JSON: given, or those that it has, or random ones. Random
ones are other ones at each look, so that they are kept for the other templates. */ -}}
{{- define "lamflow.keys" -}}
{{- if not .Values.s3.made }}
{{- $there := lookup "v1" "Secret" .Release.Namespace "lamflow-s3" | default dict }}
{{- $old := get $there "data" | default dict }}
{{- $access := .Values.s3.accessKey | default (get $old "access_key" | default "" | b64dec) }}
{{- $secret := .Values.s3.secretKey | default (get $old "secret_key" | default "" | b64dec) }}
{{- if not (and $access $secret) }}
{{- if not .Values.seaweedfs.enabled }}
{{- fail (printf "%s is not this chart's object store: give its keys by s3.existingSecret, or by s3.accessKey and s3.secretKey" .Values.s3.endpoint) }}
{{- end }}
{{- if not (or (lookup "v1" "ServiceAccount" .Release.Namespace "default") (lookup "v1" "Namespace" "" "kube-system")) }}
{{- fail "this is rendered without a cluster (helm template, Argo CD, a dry run of the client), and seaweedfs would get other random keys each time: give s3.existingSecret, or s3.accessKey and s3.secretKey" }}
{{- end }}
{{- end }}
{{- $_ := set .Values.s3 "made" (dict "access" ($access | default (randAlphaNum 20)) "secret" ($secret | default (randAlphaNum 40))) }}
{{- end }}
{{- toJson .Values.s3.made }}
{{- end }}

{{- /* Keys of the pods that label, as JSON. Those for SeaweedFS follow from the others, so that they are the same at each look. */ -}}
{{- define "lamflow.labelKeys" -}}
{{- $keys := include "lamflow.keys" . | fromJson }}
{{- if .Values.seaweedfs.enabled }}
{{- dict "access" (printf "%s-labels" $keys.access) "secret" (printf "labels %s" $keys.secret | sha256sum) | toJson }}
{{- else }}
{{- toJson $keys }}
{{- end }}
{{- end }}

{{- /* Changes with the keys, so that SeaweedFS begins anew with new ones. */ -}}
{{- define "lamflow.checksum" -}}
{{- if .Values.s3.existingSecret }}
{{- $there := lookup "v1" "Secret" .Release.Namespace .Values.s3.existingSecret | default dict }}
{{- $data := get $there "data" | default dict }}
{{- if and $there (not (hasKey $data "identities.json")) }}
{{- fail (printf "s3.existingSecret: the Secret %s has no key identities.json, which seaweedfs reads; docs/deploy.md has its text" .Values.s3.existingSecret) }}
{{- end }}
{{- toJson $data | sha256sum }}
{{- else }}
{{- printf "%s %s %s" (include "lamflow.keys" .) (include "lamflow.labelKeys" .) .Values.s3.labels | sha256sum }}
{{- end }}
{{- end }}

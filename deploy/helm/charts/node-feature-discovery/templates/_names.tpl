{{- define "nfd.name" -}}
{{ printf "%s-nfd" .Release.Name | trunc 56 | trimSuffix "-" }}
{{- end -}}

{{- define "nfd.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "nfd.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

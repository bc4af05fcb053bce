{{- define "installer.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "installer.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "installer.labels" -}}
{{ include "installer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "installer.image" -}}
{{- $version := .Values.toolkit.version | toString | default .Chart.AppVersion -}}
{{- with .Values.toolkit.repository }}{{ trimSuffix "/" . }}/{{ end -}}
{{ .Values.toolkit.image }}{{ hasPrefix "sha256:" $version | ternary "@" ":" }}{{ $version }}
{{- end -}}

{{- /* A value as the text that a variable holds: 1e+06 is what Go makes of a whole number. */ -}}
{{- define "installer.text" -}}
{{- if and (kindIs "float64" .) (eq (. | int64 | float64) .) -}}
{{ . | int64 | toString }}
{{- else -}}
{{ . | toString }}
{{- end -}}
{{- end -}}

{{- /* toolkit.env as a list, whether it is given as one or as a map of names. */ -}}
{{- define "installer.variables" -}}
{{- $found := list -}}
{{- if kindIs "map" .Values.toolkit.env -}}
{{- range $name, $value := .Values.toolkit.env -}}
{{- if kindIs "map" $value -}}
{{- $found = append $found (merge (dict "name" $name) $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $found = append $found (dict "name" $name "value" (include "installer.text" $value)) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- range $index, $each := .Values.toolkit.env -}}
{{- if not (and (kindIs "map" $each) (hasKey ($each | default dict) "name")) -}}
{{- fail (printf "toolkit.env[%d] has no name. Helm's --set replaces a whole list: an upgrade can't change one item of it. Write --set toolkit.env.NAME=VALUE, which makes toolkit.env a map, and name each variable so; or give every item again (docs/upgrade.md)" $index) -}}
{{- end -}}
{{- if hasKey $each "value" -}}
{{- $found = append $found (dict "name" $each.name "value" (include "installer.text" $each.value)) -}}
{{- else -}}
{{- $found = append $found $each -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- /* The handler's name: the variables in the order in which the program reads them, then the value. */ -}}
{{- define "installer.handler" -}}
{{- $given := dict -}}
{{- range include "installer.variables" . | fromYamlArray -}}
{{- if and (hasKey . "value") (ne (include "installer.text" .value) "") -}}
{{- $_ := set $given .name (include "installer.text" .value) -}}
{{- end -}}
{{- end -}}
{{- $name := coalesce $given.NVIDIA_RUNTIME_NAME $given.CONTAINERD_RUNTIME_CLASS $given.DOCKER_RUNTIME_NAME .Values.operator.runtimeClass -}}
{{- has $name (list "nvidia-cdi" "nvidia-legacy") | ternary "nvidia" $name -}}
{{- end -}}

{{- /* Says whether the process that wrote the ready file is the one that lives. */ -}}
{{- define "installer.probe" -}}
{ . "$TOOLKIT_READY_FILE" && [ "$boot_id" = "$(cat /proc/sys/kernel/random/boot_id)" ] && [ "$start_time" = "$(cut -d " " -f 22 "/proc/$pid/stat")" ]; } 2>/dev/null
{{- end -}}

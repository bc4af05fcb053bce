{{- /* How many letters have to be added, left out or replaced to make the one name the other. */ -}}
{{- define "installer.edits" -}}
{{- $row := until (int (add1 (len .other))) -}}
{{- $other := splitList "" .other -}}
{{- range $i, $letter := splitList "" .one -}}
{{- $above := $row -}}
{{- $row = list (add1 $i) -}}
{{- range $j, $against := $other -}}
{{- $row = append $row (min (add1 (index $above (int (add1 $j)))) (add1 (last $row)) (add (index $above $j) (eq $letter $against | ternary 0 1))) -}}
{{- end -}}
{{- end -}}
{{- last $row -}}
{{- end -}}

{{- /* A line for each variable of toolkit.env that the installer does not read and that looks like one of its own. */ -}}
{{- define "installer.misspelt" -}}
{{- $known := splitList "\n" (.Files.Get "variables.txt" | trim) -}}
{{- range include "installer.variables" . | fromYamlArray -}}
{{- $name := .name -}}
{{- if not (has $name $known) -}}
{{- $near := dict "edits" 3 "name" "" -}}
{{- range $known -}}
{{- if and (gt (len .) 4) (le (sub (len .) (len $name)) 2) (le (sub (len $name) (len .)) 2) -}}
{{- $edits := include "installer.edits" (dict "one" (upper $name) "other" .) | int -}}
{{- if lt $edits $near.edits -}}{{- $_ := set $near "edits" $edits -}}{{- $_ := set $near "name" . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $near.name }}
  {{ $name }} is not read; did you mean {{ $near.name }}?
{{- else if regexMatch "^(TOOLKIT|CONTAINERD|CRIO|DOCKER|RUNTIME|NVIDIA_CONTAINER_RUNTIME)_" $name }}
  {{ $name }} is not read; docs/configuration.md lists the variables that are.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

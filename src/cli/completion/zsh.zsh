#compdef wrun
# Completion of wrun's command lines for zsh: wrun completion zsh >DIRECTORY-OF-FPATH/_wrun

_wrun() {
    local -a lines candidates
    local line
    lines=("${(@f)$(command wrun completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    case $lines[1] in
    files) _files; return ;;
    directories) _files -/; return ;;
    esac
    for line in "${(@)lines[2,-1]}"; do
        # A colon would end the word.
        candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    _describe wrun candidates
}

if [ "$funcstack[1]" = _wrun ]; then
    _wrun "$@"
else
    compdef _wrun wrun
fi

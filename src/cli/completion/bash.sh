# Completion of wrun's command lines for bash: source <(wrun completion bash)

_wrun() {
    local kind word rest
    COMPREPLY=()
    {
        read -r kind
        while IFS=$'\t' read -r word rest; do
            COMPREPLY+=("$word")
        done
    } < <(command wrun completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    case $kind in
    files) compopt -o default ;;
    directories) compopt -o dirnames ;;
    esac
}

complete -F _wrun wrun

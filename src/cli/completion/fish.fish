# Completion of wrun's command lines for fish: wrun completion fish >~/.config/fish/completions/wrun.fish

function __wrun_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (command wrun completion words -- $words[2..] 2>/dev/null)
    switch "$lines[1]"
        case files
            __fish_complete_path (commandline -ct)
        case directories
            __fish_complete_directories (commandline -ct)
        case '*'
            printf '%s\n' $lines[2..]
    end
end

complete -c wrun -f -a '(__wrun_complete)'

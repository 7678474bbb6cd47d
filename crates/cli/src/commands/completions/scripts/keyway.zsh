#compdef keyway
# Completions of keyway for zsh: a file _keyway in a folder of $fpath, or `source <(keyway completions zsh)` behind `compinit`.

_keyway() {
    local -a lines full partial
    local line word entry index
    lines=("${(@f)$(command keyway completions zsh -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    case $lines[1] in
    words)
        for line in "${(@)lines[2,-1]}"; do
            word=${line%%$'\t'*}
            entry=${word//:/\\:}
            [[ $line != *$'\t'* ]] || entry+=:${line#*$'\t'}
            if [[ $word == *[/=] ]]; then
                partial+=("$entry")
            else
                full+=("$entry")
            fi
        done
        (( ! $#full )) || _describe -t words keyway full
        (( ! $#partial )) || _describe -t words keyway partial -S ''
        ;;
    files)
        compset -P '--*='
        _files
        ;;
    directories)
        compset -P '--*='
        _files -/
        ;;
    command)
        index=${words[(i)--]}
        words=("${(@)words[index+1,-1]}")
        (( CURRENT -= index ))
        _normal
        ;;
    esac
}

if [[ $funcstack[1] == _keyway ]]; then
    _keyway "$@"
else
    compdef _keyway keyway
fi

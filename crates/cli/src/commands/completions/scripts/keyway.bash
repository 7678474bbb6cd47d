# Completions of keyway for bash: source <(keyway completions bash)

_keyway() {
    # Bash separates words at colons and equals signs, too, which ids and options have.
    local line=${COMP_LINE:0:COMP_POINT} words=() word index
    for ((index = 0; index <= COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if ((index == 0)) || [[ $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            words+=('')
        fi
        ((index < COMP_CWORD)) || word=$line
        words[-1]+=$word
        line=${line#"$word"}
    done

    # What bash replaces begins behind the last separator of the word, unless the word is quoted.
    local current=${words[-1]} separators= prefix=
    [[ $COMP_WORDBREAKS != *:* ]] || separators+=:
    [[ $COMP_WORDBREAKS != *=* ]] || separators+==
    if [[ -n $separators && $current != [\'\"]* ]]; then
        prefix=${current%"${current##*[$separators]}"}
    fi
    words=("${words[@]//[\\\'\"]/}")

    local lines
    mapfile -t lines < <(command keyway completions bash -- "${words[@]}" 2>/dev/null)
    current=${words[-1]#"$prefix"}
    case ${lines[0]-} in
    words)
        for word in "${lines[@]:1}"; do
            COMPREPLY+=("${word#"$prefix"}")
        done
        [[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *[/=] ]] || compopt -o nospace
        ;;
    files)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        ;;
    directories)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        ;;
    command)
        for ((index = 1; index < COMP_CWORD; index++)); do
            [[ ${COMP_WORDS[index]} != -- ]] || break
        done
        ((index++))
        if declare -F _comp_command_offset >/dev/null; then
            _comp_command_offset "$index"
        elif declare -F _command_offset >/dev/null; then
            _command_offset "$index"
        elif ((COMP_CWORD == index)) && [[ $current != */* ]]; then
            mapfile -t COMPREPLY < <(compgen -c -- "$current" | sort -u)
        else
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
        fi
        ;;
    esac
}

complete -F _keyway keyway

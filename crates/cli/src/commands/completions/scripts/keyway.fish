# Completions of keyway for fish: keyway completions fish >~/.config/fish/completions/keyway.fish

function __keyway_complete
    set --local words (commandline --current-process --tokenize --cut-at-cursor)
    # Without an open quotation mark.
    set --local current (commandline --current-token --cut-at-cursor | string replace --regex -- '^[\'"]' '')
    set --local lines (command keyway completions fish -- $words "$current" 2>/dev/null)
    set --local option (string match --regex -- '^--[^=]*=' "$current")
    set --local path (string replace --regex -- '^--[^=]*=' '' "$current")
    switch "$lines[1]"
        case words
            printf '%s\n' $lines[2..]
        case files
            for found in (__fish_complete_path "$path")
                printf '%s\n' "$option$found"
            end
        case directories
            for found in (__fish_complete_directories "$path")
                printf '%s\n' "$option$found"
            end
        case command
            set --local index (contains --index -- -- $words)
            set --local line (string escape -- $words[(math $index + 1)..])
            complete --do-complete (string join ' ' -- $line "$current")
    end
end

complete --command keyway --no-files --arguments '(__keyway_complete)'

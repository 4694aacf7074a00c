"""Shell completion for the command `cdsframe`. Hydra's completion does not support a command before overrides."""

from cdsframe.config.folders import PRIMARIES

_BASH = """_cdsframe() {
    local cur="${COMP_WORDS[COMP_CWORD]}"
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "COMMANDS completion" -- "$cur"))
        return
    fi
    local command="${COMP_WORDS[1]}"
    local rest="${COMP_LINE#*"$command"}"
    local line="cdsframe$rest"
    local found
    found=$(COMP_LINE="$line" COMP_POINT="${#line}" COMP_CWORD=$((COMP_CWORD - 1)) \\
        cdsframe "$command" -sc query=bash 2>/dev/null)
    COMPREPLY=($(compgen -o nospace -W "$found" -- "${COMP_LINE##* }"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _cdsframe cdsframe
"""
_ZSH = (
    """autoload -U +X bashcompinit && bashcompinit
"""
    + _BASH
)
SHELLS = ("bash", "zsh")


def script(shell: str) -> str:
    """Returns shell code that completes commands, groups, options and keys."""
    return (_BASH if shell == "bash" else _ZSH).replace("COMMANDS", " ".join(PRIMARIES))

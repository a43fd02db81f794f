import { knownEvents } from '../../src/hook/event-names.js';
import { lifecycleHooks } from '../../src/hook/find.js';
import type { Option, ValueKind } from '../../src/options/table.js';
import { trappableSignals } from '../../src/signals/names.js';

/*
 * Completions for bash, zsh and fish.
 */

export interface Described extends Option {
  readonly meaning: string;
}

/** The words that a value may be; `null` if it is a path, or anything. */
function wordsOf(value: ValueKind): readonly string[] | null {
  if (typeof value !== 'string') return value;
  if (value === 'rule') return trappableSignals;
  return value === 'hook name' ? [...trappableSignals, ...lifecycleHooks, ...knownEvents] : null;
}

/** Names that are no more than names: those of another user's VMs may be anything, and a shell would expand them. */
const names =
  'qemu-trap --status --log json 2>/dev/null | sed -n \'s/^{"event":"vm","vm":"\\([A-Za-z0-9._-]*\\)",.*/\\1/p\'';

export function bash(options: readonly Described[]): string {
  const cases = options.flatMap(({ name, value }) => {
    if (value === null) return [];
    const words = wordsOf(value);
    const reply =
      words !== null
        ? `mapfile -t COMPREPLY < <(compgen -W '${words.join(' ')}' -- "$cur")`
        : value === 'directory'
          ? `mapfile -t COMPREPLY < <(compgen -d -- "$cur")`
          : value === 'file'
            ? `mapfile -t COMPREPLY < <(compgen -f -- "$cur")`
            : 'COMPREPLY=()';
    return [`        --${name}${name === 'signal' ? ' | -signal' : ''}) ${reply}; return ;;`];
  });
  const valued = options.filter(({ value }) => value !== null).map(({ name }) => `--${name}`);
  return `# bash completion for qemu-trap
_qemu_trap() {
    local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} i word vms=
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=\${COMP_WORDS[i]}
        case $word in
            --) mapfile -t COMPREPLY < <(((i == COMP_CWORD - 1)) && compgen -c -- "$cur" || compgen -f -- "$cur"); return ;;
            --status | --stop) vms=yes ;;
            ${[...valued, '-signal'].join(' | ')}) ((i + 1 < COMP_CWORD)) && ((i++)) ;;
            -*) ;;
            *) [[ $vms ]] || { mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return; } ;;
        esac
    done
    case $prev in
${cases.join('\n')}
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '${options.map(({ name }) => `--${name}`).join(' ')}' -- "$cur")
    elif [[ $vms ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(${names})" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -c -- "$cur")
    fi
}
complete -o filenames -F _qemu_trap qemu-trap
`;
}

export function zsh(options: readonly Described[]): string {
  const quote = (text: string): string => text.replaceAll("'", "'\\''").replaceAll(/[[\]:]/g, '\\$&');
  const action = (value: ValueKind): string => {
    const words = wordsOf(value);
    if (words !== null) return `(${words.join(' ')})`;
    return value === 'directory' ? '_files -/' : value === 'file' ? '_files' : ' ';
  };
  const specs = options.map(({ name, value, meaning }) => {
    const repeats = name === 'signal' ? '*' : '';
    return `    '${repeats}--${name}[${quote(meaning)}]${value === null ? '' : `:${quote(name)}:${action(value)}`}'`;
  });
  return `#compdef qemu-trap
# zsh completion for qemu-trap
_qemu_trap_vms() {
    local -a vms
    vms=(\${(f)"$(${names})"})
    compadd -a vms
}
_qemu_trap() {
    if (( \${words[(I)--stop]} )); then
        _arguments -S '--stop' '--all[every VM]' '--run-dir[the run directory]:run-dir:_files -/' '--state-dir[the state directory]:state-dir:_files -/' '*:VM:_qemu_trap_vms'
        return
    fi
    if (( \${words[(I)--status]} )); then
        _arguments -S '--status' '--alert[only VMs that need attention]' '--log[text, json or prometheus]:log:(text json prometheus)' '--run-dir[the run directory]:run-dir:_files -/' '--state-dir[the state directory]:state-dir:_files -/' '*:VM:_qemu_trap_vms'
        return
    fi
    _arguments -S \\
${specs.map((spec) => `${spec} \\`).join('\n')}
        '(-)1:QEMU: _command_names -e' \\
        '*::QEMU option:_files'
}
_qemu_trap "$@"
`;
}

export function fish(options: readonly Described[]): string {
  const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = options.map(({ name, value, meaning }) => {
    const words = value === null ? null : wordsOf(value);
    const how =
      value === null
        ? ''
        : words !== null
          ? ` -x -a ${quote(words.join(' '))}`
          : value === 'directory'
            ? " -x -a '(__fish_complete_directories)'"
            : value === 'file'
              ? ' -r -F'
              : ' -x';
    return `complete -c qemu-trap -n 'not contains -- -- (commandline -opc)' -l ${name}${how} -d ${quote(meaning)}`;
  });
  return `# fish completion for qemu-trap
${lines.join('\n')}
complete -c qemu-trap -n 'contains -- --status (commandline -opc); or contains -- --stop (commandline -opc)' -f -a ${quote(`(${names})`)} -d VM
complete -c qemu-trap -n 'test (commandline -opc)[-1] = --' -x -a '(__fish_complete_command)'
`;
}

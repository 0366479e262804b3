"""What a daemon's exit status says: sysexits(3), as far as its meanings fit, since service managers know its names.

Used by command.py, and shown by `--help`. A unit should not start again what a person has to mend first:
`RestartPreventExitStatus=64 78`.
"""

EXIT_STOPPED = 0
EXIT_USAGE = 64
EXIT_FAULT = 70
EXIT_SYSTEM = 71
EXIT_TAKEN = 75
EXIT_CONFIGURATION = 78

EXIT_STATUS = f"""\
exit status: {EXIT_STOPPED} stopped as asked, or --check-config found nothing; {EXIT_USAGE} wrong command line;
{EXIT_FAULT} a fault of its own, in the log; {EXIT_SYSTEM} the machine lacks something (memory, a permission);
{EXIT_TAKEN} somebody else has the port or the lock, and is named, or an address is not there yet: trying again may
help; {EXIT_CONFIGURATION} the configuration, or a file that it names, cannot be used: a person has to mend it.
"""

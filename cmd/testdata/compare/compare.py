"""Runs the command lines of `cases` with patronictl and with pgha ctl against the same etcd and the same scripted
agents, and shows where output, exit code, REST requests or stored keys differ.

    PATRONICTL='python3 /path/patronictl' PGHA=./pgha ETCDCTL='etcdctl --endpoints=127.0.0.1:2379' \
    ENDPOINT=127.0.0.1:2379 python3 compare.py [cases]

It writes and deletes keys below /service/shop/ and listens on 127.0.0.1:23721 to 23723. A line of cases is arguments,
then optionally ` <<< ` and the standard input with \\n escapes; `! KEY VALUE` resets the keys and sets one.
Known differences: texts of connection errors, stack traces of the reference (one line here, and the next member is
tried), the wrapped Usage line of flush, `-f` without a value (pgha prints the Usage lines), the order of reinit's list
and of pending restart reasons (sorted here).
"""
import os, re, shlex, subprocess, sys, tempfile

here = os.path.dirname(os.path.abspath(__file__))
work = tempfile.mkdtemp()
config, log = os.path.join(work, 'c.yml'), os.path.join(work, 'requests')
with open(config, 'w') as f:
    f.write('scope: shop\netcd3:\n  host: %s\n' % os.environ['ENDPOINT'])
reference, own = shlex.split(os.environ['PATRONICTL']), shlex.split(os.environ['PGHA']) + ['ctl']
etcdctl = shlex.split(os.environ['ETCDCTL'])


def etcd(*args):
    return subprocess.run(etcdctl + list(args), capture_output=True, text=True, check=True).stdout


def keys():
    lines = etcd('get', '--prefix', '/service/shop/').split('\n')[:-1]
    return dict(zip(lines[::2], lines[1::2]))


def load(stored):
    etcd('del', '--prefix', '/service/shop/')
    for key, value in stored.items():
        etcd('put', key, '--', value)


def run(command, args, stdin):
    open(log, 'w').close()
    r = subprocess.run(command + ['-c', config] + args, input=stdin, capture_output=True, text=True, timeout=90)

    def normal(s):  # times differ, and so do the programs' names
        s = re.sub(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{5}\b)?', lambda m: '<TS5>' if m[1] else '<TS>', s)
        return re.sub(r'e\.g\. \d{4}-\d\d-\d\dT\d\d:\d\d', 'e.g. <T>', s).replace('pgha ctl', 'patronictl')
    return {'code': r.returncode, 'stdout': normal(r.stdout), 'stderr': normal(r.stderr), 'requests': open(log).read(), 'keys': keys()}


base = {}
for line in open(os.path.join(here, 'keys')):
    key, _, value = line.rstrip('\n').partition(' ')
    base['/service/shop/' + key] = value
agents = [subprocess.Popen([sys.executable, os.path.join(here, 'agent.py'), port, os.path.join(here, 'rules.json'), log])
          for port in ('23721', '23722', '23723')]
try:
    current, different = base, 0
    for line in open(sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, 'cases')):
        line = line.rstrip('\n')
        if line.startswith('!'):
            key, _, value = line[1:].strip().partition(' ')
            current = {**base, '/service/shop/' + key: value}
        if not line or line[0] in '#!':
            continue
        args, _, stdin = line.partition(' <<< ')
        results = []
        for command in (reference, own):
            load(current)
            results.append(run(command, shlex.split(args), stdin.encode().decode('unicode_escape')))
        parts = [p for p in results[0] if results[0][p] != results[1][p]]
        print('DIFF ' + ','.join(parts) if parts else 'same', line, flush=True)
        for p in parts:
            different += 1
            print('--- patronictl', p, results[0][p], '--- pgha', p, results[1][p], sep='\n')
finally:
    for a in agents:
        a.kill()
sys.exit(1 if different else 0)

"""Records what PyYAML and Python's json write: record.py [random-cases] >pyyaml.json"""
import json, random, sys, yaml

strings = ['', 'x', 'on', 'Off', 'YES', 'y', 'null', '~', '15', '0777', '0o17', '1_000', '0x1f', '1:30', '1.5', '1e3', '1.0e+3', '.5', '.inf',
    '2024-01-02', '2024-01-02 10:00:00', '*', 'max_connections: 50->60', 'a: 1\nb: 2', 'a\n', '\na', 'a\n b', 'a \nb', ' a', 'a ', '- x', '-x', '-',
    '#x', 'a #x', 'a#x', '?x', '? x', ':x', ': x', 'a:b', 'a:', '[x]', 'a[x]', 'a,b', '{', '%h', '@x', '`x', '&a', '!a', '|', '>', "it's", '"q"',
    'tab\there', 'ünïcode', '日本', '\U0001F600', '\ufeffbom', '\x07bell', 'nbsp\xa0x', '<<', '=', '---', '--- a', '...', 'a\\b', "'", 'a\r\nb',
    'word ' * 60, "it's " * 60, 'tab\t' + 'word ' * 60, 'x' * 250, 'x' * 190 + ' y z ' + 'w' * 30, "pgbackrest --stanza=main archive-push %p",
    'k' * 130, '/usr/bin/test ! -f "x" && cp %p y', '2031-02-03 04:05:06.789012+00:00', '192.0.2.11', '0/9C69060', '8MB', '10:5432']
values = [1, -5, 0, 10**20, 1.5, -0.25, 1e-7, 1e22, True, False, None, [], {}]

def doc(depth, rnd):
    if depth == 0 or rnd.random() < 0.3:
        return rnd.choice(strings) if rnd.random() < 0.7 else rnd.choice(values)
    if rnd.random() < 0.4:
        return [doc(depth - 1, rnd) for _ in range(rnd.randrange(4))]
    return {rnd.choice(strings): doc(depth - 1, rnd) for _ in range(rnd.randrange(4))}

docs = [{'k': v} for v in strings + values] + [{s: 1} for s in strings] + [[s] for s in strings]
rnd = random.Random(7)
docs += [{'r': doc(4, rnd)} for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 40)]
docs = [json.loads(json.dumps(d)) for d in docs]  # else equal objects become anchors
print('[' + ',\n'.join(json.dumps({'json': json.dumps(d, sort_keys=True),
    'block': yaml.safe_dump(d, default_flow_style=False, allow_unicode=True, width=200),
    'flow': yaml.safe_dump(d, default_flow_style=True, allow_unicode=True, width=10**9).rstrip('\n')}) for d in docs) + ']')

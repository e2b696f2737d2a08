"""Plans of instances for the tests with the real service (docs/contract.md §5)."""


def plan(kind, path):
    """`local`, or `cache` (or `write-back`, or `testslow`) over it."""
    nodes = [{'id': 'data.1', 'type': 'local', 'kind': 'file', 'options': {'path': path, 'readOnly': False}, 'children': {}}]
    if kind == 'local':
        nodes[0]['id'] = 'data.0'
    elif kind == 'testslow':
        nodes.append({'id': 'data.0', 'type': kind, 'kind': 'file', 'options': {}, 'children': {'below': ['data.1']}})
    else:
        nodes.append({'id': 'data.0', 'type': 'cache', 'kind': 'file', 'options': {'size': 67108864, 'mode': 'write-back' if kind == 'write-back' else 'write-through', 'ttl': 1000}, 'children': {'below': ['data.1']}})
    return {'version': 1, 'instance': 'data', 'root': 'data.0', 'nodes': nodes}

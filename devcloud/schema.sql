-- State of one devcloud. Names of volumes are unique over all tenants (platform contract 5.3).
CREATE TABLE users (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    password_hash TEXT NOT NULL, default_tenant_id TEXT, role TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE tenants (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, name TEXT NOT NULL, slug TEXT NOT NULL UNIQUE,
    owner_id TEXT NOT NULL REFERENCES users (id), plan TEXT NOT NULL, status TEXT NOT NULL,
    vcpus_used INTEGER NOT NULL, memory_mb_used INTEGER NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE members (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, tenant_id TEXT NOT NULL REFERENCES tenants (id),
    user_id TEXT NOT NULL REFERENCES users (id), role TEXT NOT NULL, UNIQUE (tenant_id, user_id)
);
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL REFERENCES users (id), tenant_id TEXT NOT NULL,
    name TEXT NOT NULL, key_hash TEXT NOT NULL UNIQUE, default_tenant_id TEXT
);
CREATE TABLE instances (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL, name TEXT NOT NULL,
    image TEXT NOT NULL, status TEXT NOT NULL, instance_type TEXT NOT NULL, container_id TEXT NOT NULL,
    ports TEXT NOT NULL, vpc_id TEXT NOT NULL, subnet_id TEXT NOT NULL, private_ip TEXT NOT NULL,
    volume_binds TEXT NOT NULL, env TEXT NOT NULL, cmd TEXT NOT NULL, cpu_limit INTEGER NOT NULL,
    memory_limit INTEGER NOT NULL, disk_limit INTEGER NOT NULL, metadata TEXT NOT NULL, labels TEXT NOT NULL,
    ssh_key_id TEXT NOT NULL, hostname TEXT NOT NULL, zone TEXT NOT NULL, version INTEGER NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX instances_by_name ON instances (name);
CREATE TABLE volumes (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE, size_gb INTEGER NOT NULL, status TEXT NOT NULL,
    instance_id TEXT REFERENCES instances (id) ON DELETE SET NULL, mount_path TEXT NOT NULL, read_only INTEGER NOT NULL,
    tags TEXT NOT NULL, performance_class TEXT NOT NULL, zone TEXT NOT NULL, source_snapshot_id TEXT,
    source_volume_id TEXT, health TEXT NOT NULL, idem_key TEXT, idem_hash TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX volumes_by_key ON volumes (tenant_id, idem_key) WHERE idem_key IS NOT NULL;
CREATE INDEX volumes_by_instance ON volumes (instance_id);
CREATE TABLE snapshot_groups (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL, name TEXT NOT NULL,
    status TEXT NOT NULL, tags TEXT NOT NULL, idem_key TEXT, idem_hash TEXT NOT NULL, UNIQUE (tenant_id, name)
);
CREATE UNIQUE INDEX groups_by_key ON snapshot_groups (tenant_id, idem_key) WHERE idem_key IS NOT NULL;
-- volume_id is no reference: in the extended tier a snapshot outlives its volume.
CREATE TABLE snapshots (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL,
    volume_id TEXT NOT NULL, volume_name TEXT NOT NULL, size_gb INTEGER NOT NULL, status TEXT NOT NULL,
    description TEXT NOT NULL, name TEXT NOT NULL, tags TEXT NOT NULL, zone TEXT NOT NULL,
    performance_class TEXT NOT NULL, group_id TEXT REFERENCES snapshot_groups (id), idem_key TEXT,
    idem_hash TEXT NOT NULL
);
CREATE UNIQUE INDEX snapshots_by_key ON snapshots (tenant_id, idem_key) WHERE idem_key IS NOT NULL;
CREATE UNIQUE INDEX snapshots_by_name ON snapshots (tenant_id, name) WHERE name <> '';
CREATE INDEX snapshots_by_volume ON snapshots (volume_id);
CREATE TABLE ssh_keys (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL, name TEXT NOT NULL,
    public_key TEXT NOT NULL, fingerprint TEXT NOT NULL, UNIQUE (tenant_id, name)
);
CREATE TABLE images (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL, name TEXT NOT NULL,
    description TEXT NOT NULL, os TEXT NOT NULL, version TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    status TEXT NOT NULL, is_public INTEGER NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, created_at TEXT NOT NULL, user_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL, action TEXT NOT NULL, kind TEXT NOT NULL, resource_id TEXT NOT NULL,
    resource_type TEXT NOT NULL, metadata TEXT NOT NULL
);
-- Names of VPCs are unique over all tenants (platform contract 7.1).
CREATE TABLE vpcs (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE, cidr_block TEXT NOT NULL, network_id TEXT NOT NULL, vxlan_id INTEGER NOT NULL,
    status TEXT NOT NULL, idem_key TEXT
);
CREATE UNIQUE INDEX vpcs_by_key ON vpcs (idem_key) WHERE idem_key IS NOT NULL;
CREATE TABLE balancers (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL, name TEXT NOT NULL,
    vpc_id TEXT NOT NULL REFERENCES vpcs (id), status TEXT NOT NULL, status_reason TEXT NOT NULL,
    version INTEGER NOT NULL, tags TEXT NOT NULL, internal INTEGER NOT NULL, size TEXT NOT NULL,
    families TEXT NOT NULL, addresses TEXT NOT NULL, groups TEXT NOT NULL, port INTEGER NOT NULL,
    algorithm TEXT NOT NULL, idem_key TEXT, idem_hash TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE INDEX balancers_by_key ON balancers (idem_key);
-- Targets of the strict tier; those of the extended one stand in the groups.
CREATE TABLE balancer_targets (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, lb_id TEXT NOT NULL REFERENCES balancers (id) ON DELETE CASCADE,
    instance_id TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE, port INTEGER NOT NULL,
    weight INTEGER NOT NULL, UNIQUE (lb_id, instance_id)
);
CREATE TABLE elastic_ips (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL,
    public_ip TEXT NOT NULL UNIQUE, status TEXT NOT NULL,
    instance_id TEXT REFERENCES instances (id) ON DELETE SET NULL, vpc_id TEXT NOT NULL,
    lb_id TEXT REFERENCES balancers (id) ON DELETE SET NULL, name TEXT NOT NULL, tags TEXT NOT NULL, idem_key TEXT,
    idem_hash TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX elastic_ips_by_key ON elastic_ips (tenant_id, idem_key) WHERE idem_key IS NOT NULL;
CREATE TABLE security_groups (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL,
    vpc_id TEXT NOT NULL REFERENCES vpcs (id) ON DELETE CASCADE, name TEXT NOT NULL, description TEXT NOT NULL,
    UNIQUE (vpc_id, name)
);
CREATE TABLE security_rules (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL,
    group_id TEXT NOT NULL REFERENCES security_groups (id) ON DELETE CASCADE,
    direction TEXT NOT NULL CHECK (direction IN ('ingress', 'egress')),
    protocol TEXT NOT NULL CHECK (LENGTH(protocol) <= 10), port_min INTEGER NOT NULL, port_max INTEGER NOT NULL,
    cidr TEXT NOT NULL CHECK (LENGTH(cidr) <= 18), priority INTEGER NOT NULL, in_force INTEGER NOT NULL
);
CREATE INDEX security_rules_by_group ON security_rules (group_id);
CREATE TABLE security_group_members (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL,
    group_id TEXT NOT NULL REFERENCES security_groups (id) ON DELETE CASCADE,
    instance_id TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE, UNIQUE (group_id, instance_id)
);
CREATE TABLE certificates (
    id TEXT PRIMARY KEY, created_at TEXT NOT NULL, user_id TEXT NOT NULL, tenant_id TEXT NOT NULL, name TEXT NOT NULL,
    certificate_pem TEXT NOT NULL, private_key_pem TEXT NOT NULL, fingerprint_sha256 TEXT NOT NULL,
    not_after TEXT NOT NULL, dns_names TEXT NOT NULL, tags TEXT NOT NULL, idem_key TEXT, idem_hash TEXT NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE UNIQUE INDEX certificates_by_key ON certificates (tenant_id, idem_key) WHERE idem_key IS NOT NULL;

"""The statements that read routes, for `providers.routes`.

An alias may end in `*` and then stands for every name that begins so. Of those that fit a name the longest wins, and a
tenant's own before the platform's of the same length."""

from collections.abc import Sequence

WILDCARD = "*"
MAX_NAME = 200

ROUTE = """
    WITH best AS (
        SELECT * FROM (
            SELECT id, alias, strategy, fallbacks, requires, max_output_tokens, true AS own FROM providers_route
            WHERE alias = ANY(%(patterns)s)
            UNION ALL
            SELECT id, alias, strategy, fallbacks, requires, max_output_tokens, false FROM providers_platformroute
            WHERE alias = ANY(%(patterns)s)
        ) fitting
        ORDER BY array_position(%(patterns)s::text[], alias::text), own DESC
        LIMIT 1
    ), targets AS (
        SELECT t.position, t.weight, t.deployment_id, t.platform_deployment_id
        FROM best JOIN providers_routetarget t ON best.own AND t.route_id = best.id
        UNION ALL
        SELECT t.position, t.weight, NULL, t.deployment_id
        FROM best JOIN providers_platformroutetarget t ON NOT best.own AND t.route_id = best.id
    )
    SELECT best.id AS route_id, best.alias, best.strategy, best.fallbacks, best.requires, best.max_output_tokens, t.weight,
        coalesce(d.id, pd.id) AS id, coalesce(d.model, pd.model) AS model,
        coalesce(d.price_model, pd.price_model) AS price_model, coalesce(d.prompt_format, pd.prompt_format) AS prompt_format,
        coalesce(c.id, pc.id) AS connection_id, coalesce(c.name, pc.name) AS name, coalesce(c.kind, pc.kind) AS kind,
        coalesce(c.base_url, pc.base_url) AS base_url, coalesce(c.secret, pc.secret) AS secret,
        coalesce(c.region, pc.region) AS region, coalesce(c.vouched, true) AS vouched, d.id IS NULL AS platform
    FROM best
    LEFT JOIN targets t ON true
    LEFT JOIN providers_deployment d ON d.id = t.deployment_id
    LEFT JOIN providers_connection c ON c.id = d.connection_id
    LEFT JOIN providers_platformdeployment pd ON pd.id = t.platform_deployment_id
    LEFT JOIN providers_platformconnection pc ON pc.id = pd.connection_id
    ORDER BY t.position
    LIMIT 20
"""
"""The targets of the route that fits a name best, each with what its route says. One row, without a deployment, for a
route that has no targets; none where no route fits."""

LIST = """
    SELECT DISTINCT ON (alias) alias, route_id, kind, model, created_at FROM (
        SELECT r.alias, r.id AS route_id, coalesce(c.kind, pc.kind) AS kind, coalesce(d.model, pd.model) AS model, r.created_at,
               t.position, 0 AS rank
        FROM providers_route r
        LEFT JOIN providers_routetarget t ON t.tenant_id = r.tenant_id AND t.route_id = r.id
        LEFT JOIN providers_deployment d ON d.tenant_id = t.tenant_id AND d.id = t.deployment_id
        LEFT JOIN providers_connection c ON c.tenant_id = d.tenant_id AND c.id = d.connection_id
        LEFT JOIN providers_platformdeployment pd ON pd.id = t.platform_deployment_id
        LEFT JOIN providers_platformconnection pc ON pc.id = pd.connection_id
        WHERE t.id IS NOT NULL OR r.fallbacks <> '[]'
        UNION ALL
        SELECT r.alias, r.id, c.kind, d.model, r.created_at, t.position, 1
        FROM providers_platformroute r
        JOIN providers_platformroutetarget t ON t.route_id = r.id
        JOIN providers_platformdeployment d ON d.id = t.deployment_id
        JOIN providers_platformconnection c ON c.id = d.connection_id
    ) models
    ORDER BY alias, rank, position
    LIMIT %s
"""

ROLE = "SELECT alias FROM providers_modelrole WHERE role = %s"


def patterns(name: str) -> Sequence[str]:
    """What an alias has to be to fit this name, the best first: the name itself, then its beginnings with a star."""
    if len(name) > MAX_NAME or WILDCARD in name:
        return []
    return [name, *(name[:length] + WILDCARD for length in range(len(name), -1, -1) if length < MAX_NAME)]

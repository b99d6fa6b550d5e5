"""Who may touch the models of roles, and who writes down what providers publish."""

from django.db import migrations

from kernel.migrations import IsolateByTenant


class Migration(migrations.Migration):
    dependencies = [("providers", "0008_routes")]

    operations = [IsolateByTenant("providers_modelrole")]

"""What was used."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.serializers import UsageRecordOutput, usage_record_body
from billing.models import UsageRecord
from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.api.views import TenantAPIView
from tenants.api.base import principal_of


class UsageView(TenantAPIView):
    """The usage records, newest first: one's own, or with `usage.read` the whole tenant's."""

    permissions = {"GET": "usage.read_own"}

    @extend_schema(
        operation_id="usage_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(UsageRecordOutput(many=True), "UsagePage"),
        tags=["usage"],
    )
    def get(self, request: Request) -> Response:
        caller = principal_of(request)
        records = UsageRecord.objects.all()
        if not caller.may("usage.read"):
            records = records.filter(membership_id=caller.membership_id)
        return Response(paginate(request, records, render=usage_record_body, descending=True).body())

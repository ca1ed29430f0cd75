"""A Django site in one file, whose cache is django-redis pointed to Nearhit.

    python shop.py runserver 8000 --noreload

CACHE_URL names Nearhit, which runs beside this site."""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path


def plain_key(key: str, prefix: str, version: int) -> str:
    """Keys as they are, so that patterns and loaders of Nearhit match them."""
    return key


settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": os.environ.get("CACHE_URL", "redis://127.0.0.1:6380") + "/0",
            "KEY_FUNCTION": plain_key,
            "OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"},
        }
    },
)

from django.core.cache import cache  # noqa: E402
from django_redis import get_redis_connection  # noqa: E402

asked = 0


def ask_for_price(item: str) -> dict[str, object]:
    global asked
    asked += 1
    return {"item": item, "cents": 1250, "asked": asked}


def price(request: HttpRequest, item: str) -> JsonResponse:
    return JsonResponse(cache.get_or_set(f"price:{item}", lambda: ask_for_price(item), 60))


def forget(request: HttpRequest) -> JsonResponse:
    """In place of ``cache.delete_pattern``: no load that began before can store its value again."""
    nearhit = get_redis_connection("default")
    return JsonResponse({"removed": nearhit.execute_command("INVALIDATE", "PATTERN", "price:*")})


urlpatterns = [path("prices/<str:item>", price), path("forget", forget)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)

"""Digests of the SDK's functions that are overridden or relied on, so that a changed version is noticed."""

from __future__ import annotations

import inspect
from hashlib import sha256
from importlib import import_module
from operator import attrgetter

import pytest

# By the module that relies on it. The digests are of botocore 1.40.61 and aiobotocore 2.25.1.
_RELIED_ON = {
    "poolcensus.aws.sdk.plain": {
        "botocore.credentials:create_credential_resolver": "7e85866bddf0eb76",
        "botocore.credentials:EnvProvider.load": "668d3c9726e149ae",
        "botocore.credentials:EnvProvider._create_credentials_fetcher": "b0dc9b15012ce1a1",
        "botocore.credentials:SharedCredentialProvider.load": "86cd0e099892ec21",
        "botocore.credentials:ConfigProvider.load": "590de6c9e571677c",
        "botocore.configloader:raw_config_parse": "18cd7f7a68a1b2b8",
        "botocore.configloader:build_profile_map": "d567667e558dee08",
        "botocore.configprovider:ConfiguredEndpointProvider.provide": "fc0fca2b8050ede8",
        "botocore.utils:get_environ_proxies": "8c6f833d59c75dee",
    },
    "poolcensus.aws.sdk.session": {
        "botocore.session:Session.full_config.fget": "b08e11e6f574db45",
        "botocore.session:Session._build_profile_map": "af05c6bba60416bd",
        "botocore.httpsession:get_cert_path": "142075cf59813df4",
    },
    "poolcensus.aws.sdk.request_forms": {
        "botocore.client:BaseClient._make_api_call": "1c226d71b942f590",
        "botocore.regions:EndpointRulesetResolver.construct_endpoint": "fea12b203344c4c2",
        "botocore.regions:EndpointRulesetResolver._get_customized_builtins": "024ddfbda2e04d5d",
        "botocore.awsrequest:AWSResponse.__init__": "45496a9e3fff3458",
    },
    "poolcensus.aws.sdk.data_files": {
        "botocore.loaders:JSONFileLoader.load_file": "4b6735d5cf3c559f",
        "botocore.loaders:JSONFileLoader._load_file": "8e9da7ac3d7d5c30",
        "botocore.loaders:Loader.list_available_services": "ba2bafd04efdbf18",
        "botocore.loaders:Loader.load_service_model": "ba2bafd04efdbf18",
    },
    "poolcensus.aws.sdk.chain": {
        "botocore.credentials:AssumeRoleProvider.__init__": "807eb8a8f5a2ac3e",
        "botocore.credentials:AssumeRoleProvider._load_creds_via_assume_role": "b297606447e6fc84",
        "botocore.credentials:AssumeRoleProvider._resolve_credentials_from_profile": "cbac272cae4c88f2",
        "botocore.credentials:ProfileProviderBuilder.providers": "9b097284a0e90544",
        "botocore.credentials:ProfileProviderBuilder._create_process_provider": "cfe9f8a50f279134",
        "botocore.credentials:CredentialResolver.load_credentials": "109c3a243aaa5ff6",
        "botocore.utils:InstanceMetadataFetcher.retrieve_iam_role_credentials": "7b19eead816a724f",
    },
    "poolcensus.aws.sdk.credential_process": {
        "botocore.credentials:ProcessProvider.__init__": "438f8ba481b72279",
        "botocore.credentials:ProcessProvider.load": "fbf2177b00037b96",
        "botocore.credentials:ProcessProvider._retrieve_credentials_using": "79913c21ff9a4d19",
    },
    "poolcensus.aws.sdk.proxies": {
        "botocore.httpsession:ProxyConfiguration.proxy_url_for": "0c5b469b7c386a53",
        "botocore.utils:get_environ_proxies": "8c6f833d59c75dee",
    },
    "poolcensus.aws.transport.sdk": {
        "aiobotocore.client:AioBaseClient._make_api_call": "6568ea27af60445c",
        "aiobotocore.client:AioBaseClient.__aenter__": "212878e2736c585f",
        "aiobotocore.retries.standard:AioRetryPolicy.should_retry": "251378ff57b186f0",
        "botocore.retries.standard:MaxAttemptsChecker.is_retryable": "a14781b860145922",
    },
    "poolcensus.aws.transport.sdk_call": {
        "aiobotocore.endpoint:AioEndpoint._do_get_response": "082b773ba52d7a7e",
        "aiobotocore.signers:AioRequestSigner.sign": "ca8d778d033b41c2",
        "aiobotocore.signers:AioRequestSigner._choose_signer": "4b7473c43f487ebb",
        "botocore.auth:SigV4Auth.add_auth": "0a37f12b13c3d758",
        "botocore.auth:SigV4Auth._modify_request_before_signing": "c5366d6e92e5a6c0",
        "botocore.handlers:set_operation_specific_signer": "a3781e656ec27ea4",
    },
    "poolcensus.aws.transport.sdk_connections": {
        "aiobotocore.endpoint:AioEndpoint._send_request": "45299be64199a2eb",
        "aiobotocore.endpoint:convert_to_response_dict": "5b8b5942a9447c97",
        "aiobotocore.endpoint:AioEndpointCreator.create_endpoint": "4137bfb392515ddf",
        "aiobotocore.awsrequest:AioAWSResponse._content_prop": "8876bef2586d233c",
    },
    "poolcensus.storage.s3.http": {
        "aiobotocore.httpsession:AIOHTTPSession.__init__": "479e39fdc6567609",
        "aiobotocore.httpsession:AIOHTTPSession._create_connector": "ebe9c547d1806059",
        "aiobotocore.httpsession:AIOHTTPSession._get_session": "0b8aee68c4f5e8bc",
        "aiobotocore.httpsession:AIOHTTPSession.send": "0424179d5be0fbd7",
        "aiobotocore.credentials:AioCredentials.get_frozen_credentials": "4ecc1f5b0a781573",
        "aiobotocore.session:AioSession.get_credentials": "288a52de70cdb63c",
        "aiobotocore.utils:AioS3RegionRedirectorv2.redirect_from_error": "7f2b3ac048e954e5",
        "botocore.handlers:add_expect_header": "d55da99d52cc6124",
    },
}


@pytest.mark.parametrize(
    ("module", "name", "digest"),
    [(module, name, digest) for module, names in _RELIED_ON.items() for name, digest in names.items()],
)
def test_the_sdks_internals_are_those_that_were_read(module: str, name: str, digest: str) -> None:
    place, _, path = name.partition(":")
    found = attrgetter(path)(import_module(place))
    source = inspect.getsource(inspect.unwrap(found))
    assert sha256(source.encode()).hexdigest()[:16] == digest, (
        f"{name} is not what {module} was written for: read both, mend {module}, and note the new digest"
    )


def test_nothing_private_is_overridden_that_is_not_noted() -> None:
    """Every method that overrides one of the SDK's is in the table."""
    noted = {name.partition(":")[2] for names in _RELIED_ON.values() for name in names}
    for module in _RELIED_ON:
        for ours in vars(import_module(module)).values():
            if not inspect.isclass(ours) or ours.__module__ != module:
                continue
            for name in vars(ours):
                base = next((each for each in ours.__mro__[1:] if name in vars(each)), object)
                of_the_sdk = base.__module__.partition(".")[0] in {"botocore", "aiobotocore"}
                if of_the_sdk and name != "__init__" and inspect.isfunction(vars(base)[name]):
                    assert f"{base.__name__}.{name}" in noted, (module, ours, name)

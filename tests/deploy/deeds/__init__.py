"""What healer, and people with a shipped role, do by the permissions of the roles: each deed with exactly what it asks for.

A deed is done by the code of the daemon against a lab that enforces RBAC. It returns "" once it is done, or what it says of why
not. A deed that tries for ever is stopped when the API client has told that a permission is missing.
"""
